"""The infer stage breaks the seal: that is on record before there is any result."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.dataset.openings import openings, openings_file
from engine.dataset.prepare import prepare, read_dev, read_test
from engine.local.inference.base import Completion, Plan, Prompt, Sample
from engine.protocol import jsonl, records
from engine.protocol.events import Event, Log, StageProgress, from_row
from engine.protocol.manifest import manifest
from engine.protocol.rows import RESPONSES_FILE, Chat, Pair, Response
from engine.protocol.run_dir import Run, create
from engine.protocol.stages import INFER
from engine.sandbox import tickets
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from engine.stages import infer
from engine.stages.base import Job
from tests.tiny import make_model


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


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    make_model(folder / "model")
    jsonl.write(folder / "a.jsonl", tickets.rows(seed=1, count=40))
    run = Run(folder / "run")
    prepare(chosen(run), run.coverage)
    return run


def chosen(run: Run, **inference: Any) -> Migration:
    folder = run.folder.parent
    return Migration.model_validate(
        {
            "coverage": {"source": str(folder / "a.jsonl")},
            "service": {"model": "sandbox"},
            "local": {"model": str(folder / "model")},
            "inference": {"samples": 2, "max_new_tokens": 4, "temperature": 1.0, "batch_size": 4, **inference},
        }
    )


def answer(run: Run, told: list[Event], **inference: Any) -> dict[str, Any]:
    folder = INFER.folder(run, 0)
    result = infer.run(Job(run=run, settings=chosen(run, **inference), round=0, folder=folder, emit=told.append))
    return dict(result.counts)


def rows(run: Run) -> list[Response]:
    return list(records.read(INFER.folder(run, 0) / RESPONSES_FILE, Response))


def test_answers_are_kept_counted_and_taken_up_again(prepared: Run) -> None:
    told: list[Event] = []
    responses, prompts = INFER.folder(prepared, 0) / RESPONSES_FILE, len(read_dev(prepared.coverage))
    counts = answer(prepared, told)
    whole = rows(prepared)
    cut = sum(row.finish_reason == "length" for row in whole)
    assert counts == {"prompts": prompts, "responses": 2 * prompts, "batch": 4, "cut": cut, "thought": 0} and cut > 0
    said = [(event.level, event.message) for event in told if isinstance(event, Log)]
    cut_words = f"{cut} of {2 * prompts} responses were cut at inference.max_new_tokens"
    assert ("info", f"{cut_words}: the untuned model does not stop by itself yet") in said
    assert infer.cut_line(cut, 2 * prompts, tuned=True) == f"{cut_words}: raise inference.max_new_tokens"
    assert all(row.mean_logprob is not None and row.finish_reason in ("stop", "length") for row in whole)

    jsonl.write(responses, [row.to_row() for row in whole[:6]])
    answer(prepared, told)
    assert rows(prepared) == whole, "the torn batch is answered again, and as before"

    jsonl.write(responses, [row.to_row() for row in whole[:4]])
    answer(prepared, told, batch_size=2)
    assert rows(prepared)[:4] == whole[:4], "what is answered stays when less memory is to be used"

    answer(prepared, told, temperature=0.5)
    assert rows(prepared)[:4] != whole[:4], "other sampling starts again"


class Thinker:
    """A backend whose model thinks before each prompt's first answer."""

    model, peak_memory_bytes = "thinker@0", 0

    def plan(self, prompts: Sequence[Prompt], samples: int) -> Plan:
        return Plan(samples, [[Sample(prompt, number) for number in range(samples)] for prompt in prompts])

    def close(self) -> None: ...

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


class Echo:
    """A backend that answers each prompt with itself, three samples a batch; `size` is what fits on this machine."""

    model, peak_memory_bytes = "echo@1", 1

    def __init__(self, *_: Any, size: int = 3) -> None:
        self.size = size

    def plan(self, prompts: Sequence[Prompt], samples: int) -> Plan:
        drawn = [Sample(prompt, number) for prompt in prompts for number in range(samples)]
        return Plan(self.size, [drawn[start : start + self.size] for start in range(0, len(drawn), self.size)])

    def complete(self, batch: Sequence[Sample], progress: Callable[[int], None]) -> list[Completion]:
        texts = [str(sample.prompt.messages[0]["content"]) for sample in batch]
        return [Completion(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1) for text in texts]

    def close(self) -> None: ...

    def reference(self, chat: Chat) -> str:
        raise AssertionError("no prompt has tools")


PROCESS = """
import sys
from functools import partial
from engine.local.world import rank
from engine.stages import __main__ as program, infer
from tests.engine.stages.test_infer import Echo

infer.load_inference = partial(Echo, size=3 + 2 * rank())
infer.local_model = infer._refuse_model = lambda *_: None
sys.argv = ["engine.stages", "infer", sys.argv[1], "0"]
program.main()
"""


def test_two_processes_write_what_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chats = [[{"role": "user", "content": "a" * n}, {"role": "assistant", "content": "b"}] for n in range(20)]
    rows = [Pair(id=f"p{number}", messages=chat).to_row() for number, chat in enumerate(chats, start=1)]
    alone, shared = (create(tmp_path, name, ANSWERING) for name in ("alone", "shared"))
    for run in (alone, shared):
        jsonl.write(run.coverage / "dev.jsonl", rows)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(shared.folder)],
            env={**os.environ, **world, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
        )
        for rank in "01"
    )
    monkeypatch.setattr(infer, "load_inference", Echo)
    monkeypatch.setattr(infer, "local_model", lambda *_: None)
    monkeypatch.setattr(infer, "_refuse_model", lambda *_: None)
    infer.run(Job(run=alone, settings=settings_of(alone), round=0, folder=INFER.folder(alone, 0), emit=lambda _: None))
    told, silent = first.communicate()[0], second.communicate()[0]
    assert (first.returncode, second.returncode, silent) == (0, 0, b""), "the first process alone reports"

    written = [INFER.folder(run, 0) / "responses.jsonl" for run in (alone, shared)]
    assert len(list(jsonl.read(written[0]))) == 40 and written[0].read_bytes() == written[1].read_bytes()
    events = [from_row(json.loads(line)) for line in told.splitlines()]
    progress = [event for event in events if isinstance(event, StageProgress)]
    assert progress[-1].done == progress[-1].total == 40
    assert manifest(INFER.folder(shared, 0)) is not None


ANSWERING = """
[coverage]
source = "tickets.jsonl"
[service]
model = "sandbox"
"""
