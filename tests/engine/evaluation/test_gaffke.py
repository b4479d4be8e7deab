"""The exact bound, against closed forms and against draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta  # type: ignore[import-untyped]

from engine.evaluation.gaffke import MOST_DISTINCT, Sample, lower_bound

LOW, HIGH = 1.0, 100.0
RISKS = (0.05, 0.01, 0.001)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 60, 1000, 10_000])
@pytest.mark.parametrize("risk", RISKS)
def test_of_right_or_wrong_scores_it_is_clopper_and_pearsons(count: int, risk: float) -> None:
    for right in {0, 1, count // 2, count - 1, count}:
        found = lower_bound([HIGH] * right + [LOW] * (count - right), risk, LOW, HIGH)
        share = float(beta.ppf(risk, right, count - right + 1)) if right else 0.0

        assert found == pytest.approx(LOW + 99 * share, abs=1e-3)
        assert found <= LOW + 99 * share + 1e-9, "never above"


@pytest.mark.parametrize("count", [1, 5, 40, 10_000])
def test_of_equal_scores_it_is_a_power_of_the_risk(count: int) -> None:
    assert lower_bound([95.0] * count, 0.05, LOW, HIGH) == pytest.approx(1 + 94 * 0.05 ** (1 / count), abs=1e-3)


@pytest.mark.parametrize("count", [3, 30, 400])
def test_of_any_scores_it_is_the_quantile_of_drawn_weights(count: int) -> None:
    dice = np.random.default_rng(count)
    values = np.clip(np.round(dice.normal(80, 25, count)), LOW, HIGH)
    weights = dice.standard_exponential((200_000, count + 1))
    drawn = (weights @ np.append(values, LOW)) / weights.sum(axis=1)

    for risk in RISKS[:2]:
        found = lower_bound(values, risk, LOW, HIGH)
        assert float(np.mean(drawn <= found)) == pytest.approx(risk, abs=4 * np.sqrt(risk / 200_000))


@settings(max_examples=200)
@given(st.lists(st.floats(LOW, HIGH), min_size=1, max_size=30), st.data())
def test_the_chance_rises_with_the_mean_and_falls_with_the_scores(values: list[float], data: st.DataObject) -> None:
    lower, higher = sorted(data.draw(st.tuples(st.floats(LOW, HIGH), st.floats(LOW, HIGH))))
    raised = [data.draw(st.floats(value, HIGH)) for value in values]
    sample = Sample(values, LOW, HIGH)

    assert 0 <= sample.p_value(lower) <= sample.p_value(higher) + 1e-9 <= 1 + 1e-9
    assert Sample(raised, LOW, HIGH).p_value(higher) <= sample.p_value(higher) + 1e-9


@given(st.lists(st.floats(-99, 99), min_size=1, max_size=30), st.sampled_from(RISKS))
def test_the_bound_has_the_risk_as_its_chance(values: list[float], risk: float) -> None:
    sample = Sample(values, -99, 99)
    bound = sample.lower_bound(risk)

    assert -99 <= bound <= max(float(np.mean(values)), -99 + 1e-9)
    assert sample.p_value(bound) <= risk + 1e-6


def test_scores_far_from_a_mean_have_the_chances_of_the_far_tails() -> None:
    sample = Sample(np.clip(np.random.default_rng(0).normal(88, 15, 10_000), LOW, HIGH), LOW, HIGH)

    assert 0 <= sample.p_value(60) < 1e-100
    assert sample.p_value(LOW) == 0 and sample.p_value(HIGH) == 1 and sample.p_value(99.0) > 1 - 1e-12


def test_very_many_different_scores_lower_the_bound_by_less_than_a_step() -> None:
    values = np.random.default_rng(1).uniform(LOW, HIGH, 2 * MOST_DISTINCT)
    half = 1.645 * values.std() / np.sqrt(len(values))

    assert lower_bound(values, 0.05, LOW, HIGH) == pytest.approx(values.mean() - half, abs=0.1)


@pytest.mark.parametrize("value", [0.9, 100.1, float("nan")])
def test_a_value_outside_of_the_range_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match=r"outside of 1 \.\.\. 100"):
        lower_bound([50.0, value], 0.05, LOW, HIGH)
