import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation.gaffke import lower_bound
from engine.evaluation.intervals import DIFFERENCES, SCORES, Range, interval, least_units, unit_means
from engine.protocol.decision import Interval

points = st.lists(st.floats(1, 100), min_size=1, max_size=25)
risks = st.floats(0.01, 0.4)


def of(values: list[float], risk: float, within: Range = SCORES) -> Interval:
    return interval(np.array(values), np.array(values), risk, within)


@settings(max_examples=50)
@given(points, risks)
def test_an_interval_holds_its_mean_and_stays_within_the_range(values: list[float], risk: float) -> None:
    found = of(values, risk)

    assert 1 <= found.low <= found.mean <= found.high <= 100
    assert found == of(values, risk)


@settings(max_examples=50)
@given(points, st.data())
def test_higher_scores_never_lower_an_interval(values: list[float], data: st.DataObject) -> None:
    raised = [data.draw(st.floats(value, 100)) for value in values]
    before, after = of(values, 0.05), of(raised, 0.05)

    assert after.mean >= before.mean and after.low >= before.low and after.high >= before.high


@settings(max_examples=50)
@given(points)
def test_being_surer_takes_a_wider_interval(values: list[float]) -> None:
    narrow, wide = of(values, 0.4), of(values, 0.01)

    assert wide.low <= narrow.low and narrow.high <= wide.high


@settings(max_examples=20)
@given(st.lists(st.floats(-99, 99), min_size=5, max_size=25))
def test_turned_around_the_bounds_change_places(values: list[float]) -> None:
    found, turned = of(values, 0.1, DIFFERENCES), of([-value for value in values], 0.1, DIFFERENCES)

    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=0.011)


def test_with_many_prompts_the_interval_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(70, 10, size=4000).clip(1, 100)
    half = 1.96 * values.std() / math.sqrt(4000)
    found = of(list(values), 0.025)

    assert found.high - found.mean == pytest.approx(half, rel=0.15)
    assert found.mean - found.low == pytest.approx(half, rel=0.15)


def test_what_is_missing_is_the_worst_below_and_the_best_above() -> None:
    worst, best = np.array([80.0] * 20 + [1.0]), np.array([80.0] * 20 + [100.0])
    found = interval(worst, best, 0.05)

    assert (found.low, found.mean) == (of(list(worst), 0.05).low, of(list(worst), 0.05).mean)
    assert found.high == of(list(best), 0.05).high


def test_a_bound_is_rounded_away_from_the_mean() -> None:
    values = [70.0, 90.0] * 30
    found, exact = of(values, 0.05), lower_bound(values, 0.05, *SCORES)

    assert 0 <= exact - found.low < 0.01


def test_a_family_has_one_mean() -> None:
    assert unit_means([10, 20, 60], ["a", "a", "b"]).tolist() == [15, 60]
    assert unit_means([60, 10, 20], ["b", "a", "a"]).tolist() == [15, 60]
    assert unit_means([], []).tolist() == []


@given(st.floats(2, 99), risks)
def test_the_least_number_of_prompts_is_that_of_the_formula(bar: float, risk: float) -> None:
    least = least_units(100.0, bar, risk)

    assert 1 + 99 * risk ** (1 / least) >= bar - 1e-9
    assert least == 1 or 1 + 99 * risk ** (1 / (least - 1)) < bar + 1e-9
