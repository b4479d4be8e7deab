"""The confidence sequence: exact where a closed form is known, honest in simulation, and the same after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.evaluation.sequence import (
    Sequence,
    Verdict,
    agreements,
    begin,
    differences,
    log_growth,
    log_wealth,
)
from engine.protocol import records

SCORES = st.lists(st.floats(-99, 99), min_size=1, max_size=60)


def test_before_any_value_nothing_is_known() -> None:
    fresh = differences(2)

    assert fresh.verdict is Verdict.GO_ON
    assert (fresh.interval.low, fresh.interval.high) == (-99, 99)
    assert fresh.after([]) == fresh


def test_it_stops_for_harm_and_for_success() -> None:
    dice = np.random.default_rng(1)
    noise = np.clip(dice.normal(0, 15, 3000), -90, 90)

    worse, equal = differences(2).after(noise - 6), differences(2).after(noise)
    assert (worse.verdict, equal.verdict) == (Verdict.HARM, Verdict.SUCCESS)
    assert worse.interval.high < -2 <= equal.interval.low
    assert worse.interval.mean == pytest.approx(float(np.mean(noise - 6)))


def test_a_handful_of_requests_settles_nothing() -> None:
    assert differences(2).after([0.0] * 100).verdict is Verdict.GO_ON
    assert differences(2).after([-20.0] * 5).verdict is Verdict.GO_ON


def test_agreement_takes_ones_and_zeros() -> None:
    good, bad = agreements(0.9).after([1] * 1000), agreements(0.9).after([1, 0] * 100)

    assert (good.verdict, bad.verdict) == (Verdict.SUCCESS, Verdict.HARM)
    assert good.interval.high == 1.0 and 0.99 < good.interval.low < 1.0
    assert bad.interval.mean == 0.5


def test_the_bound_is_where_the_wealth_is_one_over_the_risk() -> None:
    """With a single bet the equation has a closed form: (1 + b m)^n = risk / 2 times the product of 1 + b x."""
    bet, x = 1.7, np.array([0.9, 0.8, 1.0, 0.95, 0.7] * 20)
    one = Sequence(
        least=0.5, low=0.0, high=1.0, risk=0.05, gains=(bet,), losses=(bet,), gained=(0.0,), lost=(0.0,)
    ).after(x)
    n = len(x)

    low = ((0.025 * np.prod(1 + bet * x)) ** (1 / n) - 1) / bet
    high = 1 - ((0.025 * np.prod(1 + bet * (1 - x))) ** (1 / n) - 1) / bet
    assert one.interval.low == pytest.approx(low, abs=1e-8) and one.interval.low <= low
    assert one.interval.high == pytest.approx(min(1.0, high), abs=1e-8)


@settings(max_examples=60)
@given(SCORES, st.floats(-90, 90), st.sampled_from([0.5, 0.05, 0.001]))
def test_bounds_enclose_the_mean_and_verdicts_are_theirs(values: list[float], least: float, risk: float) -> None:
    standing = begin(least, risk, -99, 99).after(values * 20)
    interval = standing.interval

    assert -99 <= interval.low <= interval.mean + 1e-6 and interval.mean - 1e-6 <= interval.high <= 99
    assert (standing.verdict is Verdict.SUCCESS) == (interval.low >= least) or abs(interval.low - least) < 1e-5
    assert (standing.verdict is Verdict.HARM) == (interval.high < least) or abs(interval.high - least) < 1e-5


@settings(max_examples=40)
@given(SCORES, st.integers(0, 60), st.randoms())
def test_batches_and_order_do_not_matter(values: list[float], cut: int, dice: object) -> None:
    shuffled = sorted(values, key=lambda _: dice.random())  # type: ignore[attr-defined]
    whole, parts = differences(2).after(values), differences(2).after(shuffled[:cut]).after(shuffled[cut:])

    assert parts.count == whole.count
    assert parts.gained == pytest.approx(whole.gained) and parts.lost == pytest.approx(whole.lost)
    assert parts.interval.low == pytest.approx(whole.interval.low, abs=1e-5)


def test_it_mirrors() -> None:
    values = np.random.default_rng(2).normal(-3, 10, 500).clip(-99, 99)
    one, other = begin(-2, 0.05, -99, 99).after(values).interval, begin(2, 0.05, -99, 99).after(-values).interval

    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


@pytest.mark.parametrize("value", [-99.1, 99.1, float("nan"), float("inf")])
def test_a_value_outside_of_the_range_is_refused_with_its_batch(value: float) -> None:
    with pytest.raises(ValueError, match=r"outside of -99 \.\.\. 99"):
        differences(2).after([0.0, value])


@pytest.mark.parametrize("margin, risk", [(-99, 0.05), (99, 0.05), (float("nan"), 0.05), (2, 0), (2, 1)])
def test_senseless_limits_are_refused(margin: float, risk: float) -> None:
    with pytest.raises(ValueError):
        differences(margin, risk)


def test_a_process_that_reads_it_goes_on_as_if_nothing_happened() -> None:
    values = np.random.default_rng(3).normal(-1, 12, 400).clip(-99, 99)
    begun = differences(2).after(values[:150])
    text = json.dumps(records.to_row(begun))

    again = records.build(Sequence, json.loads(text))
    assert again == begun
    assert again.after(values[150:]) == begun.after(values[150:])
    assert len(json.dumps(records.to_row(again.after(values)))) < 2 * len(text), "memory stays flat"


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: row | {"gained": row["gained"][:-1]},
        lambda row: row | {"lost": [float("nan")] * len(row["lost"])},
        lambda row: row | {"gains": [-1.0] * len(row["gains"])},
        lambda row: row | {"gained": [], "gains": []},
        lambda row: row | {"count": -1},
        lambda row: row | {"count": 0},
        lambda row: row | {"total": 1e6},
        lambda row: row | {"gained": [-5.0] * len(row["gained"])},
        lambda row: row | {"least": 200.0},
        lambda row: row | {"risk": 0.0},
        lambda row: {name: row[name] for name in row if name != "lost"},
    ],
)
def test_a_damaged_state_is_refused(damage: Callable[[dict[str, object]], dict[str, object]]) -> None:
    with pytest.raises(ValueError):
        records.build(Sequence, damage(records.to_row(differences(2).after([1.0, -3.0]))))


def test_another_versions_bets_are_kept() -> None:
    begun = differences(2)
    older = replace(begun, gains=begun.gains[:4], gained=begun.gained[:4])

    assert len(older.after([5.0] * 10).gained) == 4


def test_looking_after_every_request_keeps_the_risk_at_the_allowed_mean() -> None:
    """400 canaries of 600 requests, 5 % of them far worse and the mean as allowed: a look after each."""
    dice, begun = np.random.default_rng(4), differences(2, risk=0.2)
    values = np.where(dice.random((400, 600)) < 0.05, -99.0, 0.0) + 2.95
    scaled, number = (values + 99) / 198, np.arange(1, 601)
    up = log_wealth(np.cumsum(log_growth(scaled, begun.gains), axis=1), begun.gains, number, 97 / 198)
    down = log_wealth(np.cumsum(log_growth(1 - scaled, begun.losses), axis=1), begun.losses, number, 101 / 198)

    success, harm = (up >= np.log(10)).any(axis=1), (down >= np.log(10)).any(axis=1)
    assert 0 < success.mean() <= 0.1 and 0 < harm.mean() <= 0.1
    row = int(np.flatnonzero(harm)[0])
    stop = int((down[row] >= np.log(10)).argmax()) + 1
    assert begun.after(values[row, :stop]).verdict is Verdict.HARM
    assert begun.after(values[row, : stop - 1]).verdict is Verdict.GO_ON
