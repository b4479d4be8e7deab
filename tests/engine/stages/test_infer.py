"""The infer stage breaks the seal: that is on record before there is any result."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.dataset.openings import openings, openings_file
from engine.dataset.prepare import prepare, read_dev, read_test
from engine.local.inference.base import Completion, Plan, Prompt, Sample
from engine.protocol import jsonl
from engine.protocol.events import Event, Log
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER
from engine.sandbox import tickets
from engine.settings.schema import Migration
from engine.stages import infer
from engine.stages.base import Job


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Migration:
    """Of runs whose model breaks down at its first answer."""

    def broken(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(infer, "load_inference", broken)
    monkeypatch.setattr(infer, "local_model", lambda *_: None)
    monkeypatch.setattr(infer, "_refuse_model", lambda *_: None)
    jsonl.write(tmp_path / "a.jsonl", tickets.rows(seed=1, count=40))
    return Migration.model_validate(
        {"coverage": {"source": str(tmp_path / "a.jsonl")}, "service": {"model": "sandbox"}}
    )


def begin(folder: Path, settings: Migration, number: int | None) -> tuple[Run, list[Event]]:
    """A run up to the point where its model would answer, and what the stage told."""
    run, told = Run(folder), list[Event]()
    if not run.coverage.exists():
        prepare(settings, run.coverage)
        jsonl.write_json(run.decision_file(0), DECISION)
        jsonl.append(run.events_file, [{"seq": 1, "name": folder.name}])
    with pytest.raises(MemoryError):
        infer.run(Job(run=run, settings=settings, round=number, folder=INFER.folder(run, number), emit=told.append))
    return run, told


INTERVAL = {"mean": 50.0, "low": 40.0, "high": 60.0}
SHARES = {"precision": 0.5, "similarity": 0.5}
DECISION = {
    **{"round": 0, "outcome": "continue", "reason": "", "best_round": 0, "prompts": 9, "verdicts": 9, "errors": 0},
    **{"precision": INTERVAL, "similarity": INTERVAL, "coverage_50": SHARES, "coverage_70": SHARES},
}


def test_a_second_run_on_the_prompts_says_so(tmp_path: Path, settings: Migration) -> None:
    first, told = begin(tmp_path / "first", settings, None)
    ids = [pair.id for pair in read_test(first.coverage)]
    assert told == []
    assert openings("", ids).runs == 1, "on record before the model has answered"

    _, again = begin(tmp_path / "first", settings, None)
    assert again == [], "resumed"
    _, told = begin(tmp_path / "second", settings, None)
    (warning,) = told
    assert isinstance(warning, Log) and warning.level == "warning"
    assert warning.message.startswith(f"All {len(ids)} sealed prompts were opened once before, by an earlier run")


def test_a_copy_from_before_the_opening_is_a_second_run(tmp_path: Path, settings: Migration) -> None:
    begin(tmp_path / "first", settings, 0)
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    assert begin(tmp_path / "first", settings, None)[1] == []
    (warning,) = begin(tmp_path / "copy", settings, None)[1]
    assert isinstance(warning, Log) and "were opened once before" in warning.message


def test_dev_prompts_are_not_recorded(tmp_path: Path, settings: Migration) -> None:
    begin(tmp_path / "first", settings, 0)
    assert not openings_file().exists()


class Thinker:
    """A backend whose model thinks before each prompt's first answer."""

    model, peak_memory_bytes = "thinker@0", 0

    def plan(self, prompts: Sequence[Prompt], samples: int) -> Plan:
        return Plan(samples, [[Sample(prompt, number) for number in range(samples)] for prompt in prompts])

    def complete(self, batch: Sequence[Sample], _: Callable[[int], None]) -> list[Completion]:
        answer = {"text": "Yes.", "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 2}
        return [Completion(**answer, thought=sample.number == 0) for sample in batch]  # type: ignore[arg-type]


def test_cut_thinking_is_counted_and_said_once(
    tmp_path: Path, settings: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told = Run(tmp_path / "run"), list[Event]()
    prepare(settings, run.coverage)
    monkeypatch.setattr(infer, "load_inference", lambda *_: Thinker())
    job = Job(run=run, settings=settings, round=0, folder=INFER.folder(run, 0), emit=told.append)
    prompts = len(read_dev(run.coverage))
    for _ in ("at once", "resumed"):
        told.clear()
        result = infer.run(job)
        assert result.counts["thought"] == prompts
        (said,) = [event for event in told if isinstance(event, Log)]
        assert said.message.startswith(f"{prompts:,} of {2 * prompts:,} responses began with a thinking block")
