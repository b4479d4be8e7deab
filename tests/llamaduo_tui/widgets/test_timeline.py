"""The scores of the rounds, one below the other."""

from __future__ import annotations

import functools

import story
from msgspec.structs import replace

from engine.protocol.decision import Drift, Interval
from engine.protocol.events import Event, RoundScored
from llamaduo_tui.views import log_lines
from llamaduo_tui.views.run_view import RunView, reduce
from llamaduo_tui.widgets.timeline import LABEL, scores


def test_a_round_with_a_judge_that_shifted_is_marked() -> None:
    by = Interval(mean=-3, low=-4, high=-2)
    shift = Drift(judge="j", answers=20, missing=0, precision=by, similarity=by, shifted=True)
    decisions = [story.decision(1, 64, 51), replace(story.decision(2, 61, 48), drift=(shift,))]
    events: list[Event] = [RoundScored(round=one.round, stage="decide", decision=one) for one in decisions]
    view = functools.reduce(reduce, events, RunView())

    lines = [line.plain for line in scores(view, None, 80)[1:]]
    assert [line[:LABEL].rstrip() for line in lines] == ["round 1", "round 2 !"]
    assert log_lines.scored(decisions[0]).endswith("short of the gate")
    assert log_lines.scored(decisions[1]).endswith("short of the gate, judge shifted")
