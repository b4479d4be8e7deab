"""A run in plain lines, and how amounts are said."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import story
from msgspec.structs import replace

from engine.protocol.events import Event, Log, RoundScored, RunStarted, StagePlaced, StageProgress
from engine.protocol.run_dir import Run
from llamaduo_tui.views import log_lines, phrases
from llamaduo_tui.views.run_view import RunView, reduce


def numbered(events: list[Event]) -> list[Event]:
    return [replace(event, seq=n + 1, time=1000.0 + n) for n, event in enumerate(events)]


def view_of(events: list[Event]) -> RunView:
    return functools.reduce(reduce, numbered(events), RunView())


@pytest.mark.parametrize(
    "name, number", [("finetune", 1), ("infer", 0), ("infer", 1), ("judge", 1), ("synthesize", 1), ("coverage", None)]
)
def test_every_stage_is_explained(name: str, number: int | None) -> None:
    said = phrases.explain(view_of([story.started(), *story.stage(name, number, 10, "things")[:-1]]))
    assert len(said.split()) > 8


def test_the_sealed_test_is_told_from_a_round() -> None:
    before = [*story.to_approval(), story.to_end()[0], *story.evaluation(2)]
    said = phrases.explain(view_of([*before, *story.stage("infer", None, 10, "answers")[:-1]]))
    assert "sealed test" in said


def test_hostile_names_and_messages_are_nothing_but_text() -> None:
    evil = "\x1b]52;c;aGk=\x07[bold red]x[/nope]\u202e\n\n"
    events: list[Event] = [
        RunStarted(name=evil, pid=1, resumed=False, sandbox=False, model=evil, service=evil, max_rounds=2),
        StageProgress(round=1, stage=evil, done=10**30, total=1, unit=evil),
        Log(level=evil, message=evil * 100),
    ]
    told = [line for event in numbered(events) for line in log_lines.Lines().of(event)]
    assert len(told) == 3
    assert not any(code in line for line in told for code in "\x1b\x07\u202e\n")


def test_plain_lines_throttle_progress_by_the_events_clock() -> None:
    lines = log_lines.Lines()
    every = [
        StageProgress(round=1, stage="infer", done=n, total=1000, unit="answers", time=n / 100) for n in range(1001)
    ]
    told = [line for event in every for line in lines.of(event)]
    assert 10 <= len(told) <= 12
    slow = StageProgress(round=1, stage="judge", done=100, total=1000, unit="verdicts", seconds_left=61.0, time=50.0)
    assert lines.of(slow)[0].endswith("round 1 judge  100/1,000 verdicts, 1 min 1 s left")
    assert lines.of(replace(slow, done=102, time=55.0)) == []
    assert len(lines.of(replace(slow, done=103, time=61.0))) == 1


def test_the_last_line_of_a_worker_is_no_warning(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert log_lines.last_line(run) == ""
    warning = "/site/a.py:3312: FutureWarning: `x` is deprecated.\n  warnings.warn(\n"
    run.log_file.write_text(warning)
    assert log_lines.last_line(run) == ""
    run.log_file.write_text(f"Traceback:\n  File x\nRuntimeError: \x1b[31mno luck\n\n{warning}")
    assert log_lines.last_line(run) == "RuntimeError: ␛[31mno luck"


def test_the_whole_story_reads_in_a_few_lines() -> None:
    lines = log_lines.Lines()
    everything = [*story.to_approval(), *story.to_review(), *story.to_end()[9:]]
    told = [line for event in numbered(everything) for line in lines.of(event)]
    assert len(told) < 150
    assert any(phrases.SANDBOX in line for line in told)
    assert any("waits for approval: 120 new pairs, about $0.42, about 3 min 10 s" in line for line in told)
    assert any("waits for a review of 120 new pairs" in line for line in told)
    assert any("sealed test judge  done" in line for line in told)


@pytest.mark.parametrize(
    "usd, said",
    [(None, "price unknown"), (0.0, "free"), (0.0042, "$0.0042"), (1234.5, "$1,234.50"), (1e-6, "under $0.0001")],
)
def test_money(usd: float | None, said: str) -> None:
    assert phrases.money(usd) == said


@pytest.mark.parametrize(
    "nodes, said",
    [
        (("gpu-7 (a0)",), "runs on node gpu-7 (a0)"),
        (("a", "a"), "runs on node a"),
        (("a", "b\x1b[31m", "c", "d"), "runs on 4 nodes: a, b␛[31m and 2 more"),
    ],
)
def test_the_nodes_of_a_stage(nodes: tuple[str, ...], said: str) -> None:
    (line,) = log_lines.Lines().of(StagePlaced(round=1, stage="infer", nodes=nodes))
    assert line.endswith(said)


def test_a_review_that_changes_nothing_is_no_line_and_a_flag_says_what_it_did() -> None:
    lines, first = log_lines.Lines(), story.decision(1, 63.6, 51.2)
    scored = [RoundScored(round=1, stage="decide", decision=one) for one in (first, replace(first, cut=1))]
    assert len(lines.of(scored[0])) == 1 and lines.of(scored[1]) == []
    flagged = replace(first, precision=story.interval(64.1), flagged=("a1",))
    (line,) = lines.of(RoundScored(round=1, stage="decide", decision=flagged))
    assert line.endswith("after a review: 1 prompt left out for a bad reference, precision 63.6 -> 64.1")
