"""The infer stage with a tiny real model: what is kept of its answers, and what may change before it is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.dataset.prepare import prepare, read_dev
from engine.protocol import jsonl, records
from engine.protocol.events import Event, Log
from engine.protocol.rows import RESPONSES_FILE, Response
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER
from engine.sandbox import tickets
from engine.settings.schema import Migration
from engine.stages import infer
from engine.stages.base import Job
from tests.tiny import make_model


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    make_model(folder / "model")
    jsonl.write(folder / "a.jsonl", tickets.rows(seed=1, count=40))
    run = Run(folder / "run")
    prepare(settings(run), run.coverage)
    return run


def settings(run: Run, **inference: Any) -> Migration:
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
    result = infer.run(Job(run=run, settings=settings(run, **inference), round=0, folder=folder, emit=told.append))
    return dict(result.counts)


def rows(run: Run) -> list[Response]:
    return list(records.read(INFER.folder(run, 0) / RESPONSES_FILE, Response))


def test_answers_are_kept_counted_and_taken_up_again(prepared: Run) -> None:
    told: list[Event] = []
    responses, prompts = INFER.folder(prepared, 0) / RESPONSES_FILE, len(read_dev(prepared.coverage))
    counts = answer(prepared, told)
    whole = rows(prepared)
    cut = sum(row.finish_reason == "length" for row in whole)
    assert counts == {"prompts": prompts, "responses": 2 * prompts, "batch": 4, "cut": cut} and cut > 0
    warnings = [event.message for event in told if isinstance(event, Log) and event.level == "warning"]
    assert f"{cut} of {2 * prompts} responses were cut at their limit: raise inference.max_new_tokens" in warnings
    assert all(row.mean_logprob is not None and row.finish_reason in ("stop", "length") for row in whole)

    jsonl.write(responses, [row.to_row() for row in whole[:6]])
    answer(prepared, told)
    assert rows(prepared) == whole, "the torn batch is answered again, and as before"

    jsonl.write(responses, [row.to_row() for row in whole[:4]])
    answer(prepared, told, batch_size=2)
    assert rows(prepared)[:4] == whole[:4], "what is answered stays when less memory is to be used"

    answer(prepared, told, temperature=0.5)
    assert rows(prepared)[:4] != whole[:4], "other sampling starts again"
