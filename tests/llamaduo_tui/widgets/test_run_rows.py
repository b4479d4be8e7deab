"""Rows of the list of runs: which columns have room."""

from __future__ import annotations

from pathlib import Path

import pytest
import story

from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui.views.run_list import Entry
from llamaduo_tui.widgets import run_brief, run_rows

SCORES = ((story.interval(12.5), story.interval(8.1)), (story.interval(64.3), story.interval(51.2)))


def entry(state: State, **more: object) -> Entry:
    return Entry(run=Run(Path("/runs/tickets")), state=state, created=0.0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "wanted"),
    [
        (38, ["STATE", "RUN"]),
        (58, ["STATE", "RUN", "PRECISION", "COST", "AGE"]),
        (78, ["STATE", "RUN", "AT", "PRECISION", "COST", "AGE"]),
        (118, ["STATE", "RUN", "AT", "PRECISION", "SIMILARITY", "COST", "AGE", "MODEL", "LEFT"]),
    ],
)
def test_columns_come_and_go_with_the_width_and_none_is_cut(width: int, wanted: list[str]) -> None:
    sizes = run_rows.sizes(width, 9)
    assert [column for column in sizes if column in wanted or width > 40] == wanted
    assert sum(sizes.values()) <= max(width, 41)
    heads = run_rows.columns(sizes, marks=False).plain
    assert "…" not in heads and all(column in heads for column in wanted)


@pytest.mark.parametrize(("width", "name", "more"), [(118, 43, 1), (157, 33, 5), (184, 44, 6), (240, 66, 6)])
def test_one_long_name_hides_no_column_that_tells_runs_apart(width: int, name: int, more: int) -> None:
    sizes = run_rows.sizes(width, 64)
    assert sizes["RUN"] == name
    assert sum(column in sizes for column in ("SIMILARITY", "MODEL", "LEFT", "PAIRS", "TARGET", "SERVICE")) == more
    assert sum(sizes.values()) <= width


def test_a_service_that_does_not_answer_is_in_the_list_and_beside_it() -> None:
    sizes = run_rows.sizes(78, 20)
    for state, since, told in (
        (State.RUNNING, 100.0, True),
        (State.RUNNING, 195.0, False),  # a single retry
        (State.CRASHED, 100.0, False),
        (State.RUNNING, None, False),
    ):
        silent = entry(state, stage="judge", silent_since=since)
        assert ("waits for service" in run_rows.row(silent, 200.0, sizes).plain) is told
        beside = " ".join(line.plain for line in run_brief.lines(silent, 200.0, 40))
        assert ("the service has not answered since" in beside) is told


def test_nothing_is_said_of_what_may_not_be_read() -> None:
    sizes = run_rows.sizes(78, 20)
    private = run_rows.row(entry(State.PRIVATE, owner="ann", mine=False, whole=False), 60.0, sizes).plain
    assert "tickets (ann)" in private and "free" not in private
    theirs = entry(State.WAITING, owner="ann", mine=False, scores=SCORES)
    assert "waits for owner" in run_rows.row(theirs, 60.0, sizes).plain and not theirs.waits
    assert "free" in run_rows.row(entry(State.WAITING), 60.0, sizes).plain


def test_a_wide_list_tells_more_about_a_run() -> None:
    asked = story.another_round().question
    told = run_brief.lines(entry(State.WAITING, scores=SCORES, question=asked, targets=(85, 75)), 3600.0, 60)
    shown = "\n".join(line.plain for line in told)
    for wanted in (
        "waits for approval: about $0.42",
        "precision, target 85 ┃",
        "round 1    64.3   59–69",
        "/runs/tickets",
    ):
        assert wanted in shown
    theirs = run_brief.lines(entry(State.PRIVATE, owner="ann", mine=False), 3600.0, 60)
    assert [line.plain.split() for line in theirs][1] == ["owner", "ann;", "for", "you", "to", "read", "only"]
