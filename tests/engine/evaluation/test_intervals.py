import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation.intervals import (
    DIFFERENCES,
    SCORES,
    Range,
    intervals,
    least_prompts,
    lower_bounds,
    prompts_needed,
)
from engine.protocol.decision import Interval

points = st.lists(st.floats(1, 100), min_size=1, max_size=25)
risks = st.floats(0.01, 0.4)


def interval(values: list[float], risk: float, seed: int, within: Range = SCORES) -> Interval:
    (found,) = intervals([values], risk, seed, within)
    return found


@settings(max_examples=50)
@given(points, risks, st.integers(0, 99))
def test_an_interval_holds_its_mean_and_stays_within_the_range(values: list[float], risk: float, seed: int) -> None:
    found = interval(values, risk, seed)

    assert 1 <= found.low <= found.mean <= found.high <= 100
    assert found == interval(values, risk, seed)


@settings(max_examples=50)
@given(points, st.data())
def test_higher_scores_never_lower_an_interval(values: list[float], data: st.DataObject) -> None:
    raised = [data.draw(st.floats(value, 100)) for value in values]
    before, after = interval(values, 0.05, 1), interval(raised, 0.05, 1)

    assert after.mean >= before.mean and after.low >= before.low and after.high >= before.high


@settings(max_examples=50)
@given(points)
def test_being_surer_takes_a_wider_interval(values: list[float]) -> None:
    narrow, wide = interval(values, 0.4, 3), interval(values, 0.01, 3)

    assert wide.low <= narrow.low and narrow.high <= wide.high


@settings(max_examples=20)
@given(st.lists(st.floats(-99, 99), min_size=5, max_size=25))
def test_turned_around_the_bounds_change_places(values: list[float]) -> None:
    found, turned = interval(values, 0.1, 5, DIFFERENCES), interval([-value for value in values], 0.1, 5, DIFFERENCES)

    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=0.011)


def test_with_many_prompts_the_interval_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(70, 10, size=4000)
    half = 1.96 * values.std() / math.sqrt(4000)
    found = interval(list(values), 0.025, 0)

    assert found.high - found.mean == pytest.approx(half, rel=0.12)
    assert found.mean - found.low == pytest.approx(half, rel=0.12)


@pytest.mark.parametrize(("right", "low"), [(20, 80.3), (18, 65.1), (10, 24.6)])
def test_of_right_or_wrong_scores_the_bound_is_clopper_and_pearsons(right: int, low: float) -> None:
    """Lower bounds at 1.25 % for 20, 18 and 10 successes in 20: beta.ppf(0.0125, k, 21 - k)."""
    found = interval([100.0] * right + [1.0] * (20 - right), 0.0125, 0)

    assert (found.low - 1) / 99 * 100 == pytest.approx(low, abs=1)


def test_sets_side_by_side_get_the_bounds_that_each_gets_alone() -> None:
    sets = np.random.default_rng(1).uniform(1, 100, size=(3, 12))
    lows = lower_bounds(sets, 0.05, 9, SCORES.low)

    for row, low in zip(sets, lows, strict=True):
        assert interval(list(row), 0.05, 9).low == round(low, 2)


@settings(max_examples=25)
@given(points, st.integers(0, 3), st.data())
def test_several_scores_get_the_intervals_that_each_gets_alone(
    values: list[float], unknown: int, data: st.DataObject
) -> None:
    others = [data.draw(st.floats(1, 100)) for _ in values]
    both = intervals([values, others], 0.05, 1, unknown=unknown)
    alone = [intervals([one], 0.05, 1, unknown=unknown)[0] for one in (values, others)]

    for found, wanted in zip(both, alone, strict=True):
        assert (found.mean, found.low, found.high) == pytest.approx((wanted.mean, wanted.low, wanted.high), abs=0.011)


def test_many_prompts_take_no_more_memory() -> None:
    tracemalloc.start()
    interval([50.0, 60.0] * 2_500, 0.05, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 200 * 2**20


@pytest.mark.parametrize("bar", [65.0, 69.0])
def test_as_many_prompts_as_are_said_to_be_needed_do_pass(bar: float) -> None:
    values = list(np.random.default_rng(2).choice([40.0, 80.0, 95.0], size=40))
    needed = prompts_needed(values, bar, 0.01, 0)
    assert needed is not None

    more, fewer = (list(np.resize(values, count)) for count in (round(needed * 1.1), round(needed * 0.8)))
    assert interval(more, 0.01, 1).low > bar > interval(fewer, 0.01, 1).low


def test_no_number_of_prompts_helps_a_mean_below_the_bar() -> None:
    assert prompts_needed([50.0, 60.0], 55.0, 0.01, 0) is None
    assert prompts_needed([50.0, 60.001], 55.0, 0.01, 0) is None, "nor one a hair above it"


@given(st.floats(2, 99), risks)
def test_the_least_number_of_prompts_is_that_of_the_formula(bar: float, risk: float) -> None:
    least = least_prompts(100.0, bar, risk)

    assert 1 + 99 * risk ** (1 / least) >= bar - 1e-9
    assert least == 1 or 1 + 99 * risk ** (1 / (least - 1)) < bar + 1e-9
