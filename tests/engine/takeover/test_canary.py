"""The canary's rule: what share a bound allows, when it rolls back, and that it goes on from its file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol import records
from engine.takeover.canary import STEPS, WORST, Canary, allowed, begin


@given(st.floats(-99, 99), st.floats(0.1, 50))
def test_the_worst_case_costs_at_most_the_margin(low: float, margin: float) -> None:
    share = allowed(low, margin)
    assert 0 < share <= 1
    assert share * -low <= margin + 1e-9


@pytest.mark.parametrize(("low", "share"), [(-99, 0.02), (-20.1, 0.05), (-20, 0.1), (-6, 0.33), (-2.1, 0.5), (-2, 1)])
def test_each_step_takes_its_bound(low: float, share: float) -> None:
    assert allowed(low, 2.0) == share
    assert share in STEPS


def test_equal_answers_reach_everything_step_by_step() -> None:
    canary, shares = begin(2.0), []
    while not canary.complete:
        canary = canary.after([0.0] * 10, agreed=10)
        shares.append(canary.share)
    assert shares == sorted(shares)
    assert len(set(shares)) >= 4
    assert canary.agreed == canary.overall.count < 1000


def test_answers_that_fail_roll_back_and_nothing_raises_the_share_again() -> None:
    canary = begin(2.0)
    while not canary.rolled_back:
        canary = canary.after([WORST, 0.0, 0.0, 0.0])
    assert canary.share == 0
    assert "more than 2 points worse: -24.8 over" in canary.rolled_back
    assert canary.back("again").rolled_back == canary.rolled_back


def test_a_late_change_is_seen_by_the_newest_comparisons() -> None:
    canary, compared = begin(2.0).after([0.0] * 10_000), 0
    assert canary.complete
    while not canary.rolled_back and compared < 3000:
        canary, compared = canary.after([-10.0] * 20), compared + 20
    assert canary.rolled_back
    assert canary.overall.interval.mean > -2.5
    assert compared < 2000


def test_the_risk_of_all_sequences_together_is_that_of_the_canary() -> None:
    """However often the newest comparisons are looked at from the start again."""
    canary = begin(2.0, 0.05)
    spent = [canary.recent.risk]
    for _ in range(40):
        canary = canary.after([0.0] * 500)
        if canary.begun > len(spent):
            spent.append(canary.recent.risk)
    assert len(spent) == canary.begun > 10
    assert spent == sorted(spent, reverse=True)
    harm = (0.05 / 2 + sum(spent)) / 2  # a verdict of harm has half of a sequence's risk
    assert 0.023 < harm <= 0.05 / 2


def test_a_model_that_turns_bad_late_is_still_found_soon() -> None:
    """After many beginnings it takes more, by the logarithm of their number."""
    canary, compared = begin(2.0), 0
    for _ in range(60):
        canary = canary.after([0.0] * 2000)
    assert canary.begun > 60
    while not canary.rolled_back:
        canary, compared = canary.after([-30.0]), compared + 1
    early = begin(2.0)
    while not early.rolled_back:
        early = early.after([-30.0])
    assert early.recent.count < compared < 3 * early.recent.count


def test_its_file_holds_all_of_it() -> None:
    canary = begin(3.0).after([-1.5, 0.0, 4.0], agreed=1)
    again = records.build(Canary, records.to_row(canary))
    assert again == canary
    assert again.after([1.0]) == canary.after([1.0])
