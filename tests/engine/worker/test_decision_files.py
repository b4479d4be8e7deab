"""A run whose files changed while no worker was at it ends as it did, and pays for nothing twice."""

from __future__ import annotations

import json
from contextlib import closing

from mini_run import work
from msgspec.structs import replace

from engine.protocol import checksums, jsonl
from engine.protocol.events import EventReader, Log, QuestionAnswered
from engine.protocol.manifest import NAME
from engine.protocol.questions import REDO
from engine.protocol.run_dir import Run
from engine.protocol.run_record import record_file
from engine.protocol.status import State
from engine.service.ledger import Ledger
from engine.verify.verification import verify


def reopened(run: Run) -> None:
    """The run as a crash leaves it just before its report."""
    for path in (record_file(run), run.final / NAME, run.report_file):
        path.unlink()
    run.write_status(replace(run.status(), state=State.FAILED, record=""))


def paid(run: Run) -> int:
    with closing(Ledger(run.ledger_file)) as ledger:
        return ledger.totals().calls


def sums(run: Run) -> dict[str, str]:
    """The contents that matter: rows, adapters and decisions."""
    kept = {"responses.jsonl", "verdicts.jsonl", "pairs.jsonl", "train.jsonl", "adapter_model.safetensors"}
    files = [path for path in run.folder.rglob("*") if path.name in kept]
    return {path.relative_to(run.folder).as_posix(): checksums.file_sum(path).sha256 for path in files}


def test_changed_files_are_made_again_and_the_end_is_the_same(finished: Run) -> None:
    before, final, calls = sums(finished), finished.final_decision(), paid(finished)
    reopened(finished)
    folder = finished.folder
    jsonl.write(folder / "coverage/train.jsonl", list(jsonl.read(folder / "coverage/train.jsonl"))[1:])
    responses = folder / "round-01/infer/responses.jsonl"
    responses.write_bytes(responses.read_bytes()[: responses.stat().st_size * 6 // 10])
    verdicts = folder / "round-00/judge/verdicts.jsonl"
    jsonl.write(verdicts, list(jsonl.read(verdicts))[6:])
    adapter = folder / "round-02/finetune/adapter/adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"\x00")
    decision = finished.decision_file(1)
    decision.write_text(decision.read_text().replace('"outcome": "continue"', '"outcome": "gate"'))

    assert work(finished) == 3
    again = finished.final_decision()
    assert sums(finished) == before and again is not None and final is not None
    assert (again.reason, again.sealed, again.best_round) == (final.reason, final.sealed, final.best_round)
    assert paid(finished) == calls and verify(finished).holds
    events = EventReader(finished.events_file).read_new()
    asked = [event.question.name.split("/")[0] for event in events if isinstance(event, QuestionAnswered)]
    assert [name for name in asked if name in ("judge", "coverage", "infer", "finetune")] == ["judge"]
    assert any(isinstance(event, QuestionAnswered) and event.question.kind == REDO for event in events)
    told = [event.message for event in events if isinstance(event, Log)]
    for file in ("coverage/train.jsonl", "round-01/infer/responses.jsonl", "round-00/judge/verdicts.jsonl"):
        assert sum(message.startswith(f"{file} has ") for message in told) == 1
    assert any("round-01/decision.json is damaged" in message for message in told)


def test_a_decision_rests_on_the_verdicts_that_it_names(finished: Run) -> None:
    names = finished.made_from(finished.decision_file(1))
    assert set(names) == {"round-00/judge/verdicts.jsonl", "round-01/judge/verdicts.jsonl"}
    final = finished.made_from(finished.final_decision_file)
    assert set(final) == {"round-02/decision.json", "final/judge/verdicts.jsonl"}
    row = json.loads(finished.decision_file(1).read_text())
    assert checksums.file_sum(finished.folder / "round-01/judge/verdicts.jsonl").sha256 in row["made_from"].values()
