"""Runs of version 0.1, which wrote no format, are read as what they mean."""

import json
from pathlib import Path

import pytest

from engine.protocol import commands
from engine.protocol.commands import Opinion
from engine.protocol.errors import FormatError, InputError
from engine.protocol.events import Event, EventReader, QuestionAnswered, QuestionAsked, RoundScored, RunFinished
from engine.protocol.lock import lock
from engine.protocol.questions import APPROVE, BUDGET, PAIRS, REJECT, ROUND, Question
from engine.protocol.run_dir import FORMAT, Run, create
from engine.protocol.status import State


@pytest.fixture
def old(tmp_path: Path) -> Run:
    run = create(tmp_path, "old", '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n')
    run.format_file.unlink()
    return run


def event(run: Run, **row: object) -> Event:
    run.events_file.write_text(json.dumps({"seq": 1, "time": 1.0, "round": 1, "stage": None, **row}) + "\n")
    (event,) = EventReader(run.events_file).read_new()
    return event


def test_a_new_run_says_its_format(tmp_path: Path, old: Run) -> None:
    assert old.format == 1
    assert create(tmp_path, "new", "").format == FORMAT


def test_a_run_that_ended_short_of_its_target_has_missed_it(old: Run) -> None:
    old.status_file.write_text('{"state": "stopped", "waits_for": ""}')
    assert old.status().state is State.STOPPED

    old.final.mkdir()
    (old.final / "manifest.json").write_text("{}")
    assert old.status().state is State.MISSED

    finished = event(old, kind="run.finished", state="stopped", reason="All rounds are used.", report="/x/report.md")
    by_hand = event(old, kind="run.finished", state="stopped", reason="Stopped by hand.", report=None)
    assert isinstance(finished, RunFinished) and finished.state is State.MISSED
    assert isinstance(by_hand, RunFinished) and by_hand.state is State.STOPPED


def test_approvals_are_questions_and_answers(old: Run) -> None:
    approval = {"reason": "Short.", "pairs": 120, "cost_usd": 0.4, "seconds": 190.0}
    asked = event(old, kind="approval.requested", **approval)
    assert isinstance(asked, QuestionAsked)
    assert asked.question == Question(kind=ROUND, round=1, choices=(APPROVE, REJECT), **approval)  # type: ignore[arg-type]

    review = event(old, kind="approval.requested", **{**approval, "stage": "synthesize", "cost_usd": None})
    assert isinstance(review, QuestionAsked) and review.question.key == "pairs/1"

    answer = event(old, kind="approval.given", approved=False, pairs=120, command="c1")
    assert isinstance(answer, QuestionAnswered)
    assert (answer.question.key, answer.choice, answer.answer) == (asked.question.key, REJECT, "c1")

    short = event(old, kind="budget.used_up", reason="$5", hint="raise it", cap="usd", used=4.9, least=5.2)
    assert isinstance(short, QuestionAsked)
    assert (short.question.kind, short.question.least) == (BUDGET, 5.2)


def test_an_old_decision_is_read_and_its_own_word_for_reached_is_left_out(old: Run) -> None:
    interval = {"mean": 50.0, "low": 45.0, "high": 55.0}
    shares = {"precision": 0.5, "similarity": 0.5}
    row = {
        **{"round": 1, "reached": False, "outcome": "continue", "reason": "Short.", "best_round": 1, "next": None},
        **{"precision": interval, "similarity": interval, "coverage_50": shares, "coverage_70": shares},
        **{"prompts": 24, "verdicts": 96, "errors": 0},
    }
    old.round(1).mkdir()
    old.decision_file(1).write_text(json.dumps(row))
    scored = event(old, kind="round.scored", stage="decide", decision=row)

    assert isinstance(scored, RoundScored) and [scored.decision] == old.decisions()
    assert scored.decision.precision.mean == 50.0 and not scored.decision.passed_gate


def test_old_answers_still_count(old: Run) -> None:
    lines = [
        {"kind": "approve", "round": 1, "pairs": 20},
        {"kind": "train", "round": 1},
        {"kind": "reject", "round": 2},
    ]
    old.commands_file.write_text(
        "".join(json.dumps({**line, "worker": None, "id": "x", "time": 1.0}) + "\n" for line in lines)
    )

    def answer(kind: str, number: int) -> str | None:
        question = Question(kind=kind, round=number, reason="", choices=(APPROVE, REJECT))
        given = commands.answer(old.commands_file, question)
        return given.choice if given else None

    assert (answer(ROUND, 1), answer(PAIRS, 1), answer(ROUND, 2), answer(PAIRS, 2)) == (APPROVE, APPROVE, REJECT, None)


def test_old_reviews_still_count(old: Run) -> None:
    said = {"kind": "label", "round": 1, "prompt": "a", "similarity": None, "note": "wrong", "id": "x", "time": 1.0}
    lines = [{**said, "sample": 0, "agrees": True}, {**said, "sample": 0, "agrees": False, "precision": 40.0}]
    old.commands_file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))

    [(key, label)] = commands.labels(old.commands_file).items()
    assert key == (1, "a", 0)
    assert label.opinion == Opinion(agrees=False, precision=40.0, note="wrong") and (label.id, label.time) == ("x", 1.0)


def test_a_newer_format_is_refused_and_left_alone(old: Run) -> None:
    old.format_file.write_text("99\n")
    before = sorted(path.name for path in old.folder.iterdir())

    with pytest.raises(FormatError, match="format 99"):
        old.status()
    with pytest.raises(FormatError), lock(old):
        pass
    assert sorted(path.name for path in old.folder.iterdir()) == before


@pytest.mark.parametrize("state", [State.REACHED, State.MISSED])
def test_no_worker_takes_up_a_run_that_has_ended(old: Run, state: State) -> None:
    old.write_format()
    old.status_file.write_text(json.dumps({"state": state}))
    before = {path.name: path.read_bytes() for path in old.folder.iterdir()}

    with pytest.raises(InputError, match="has ended"), lock(old):
        pass
    assert {path.name: path.read_bytes() for path in old.folder.iterdir()} == before
