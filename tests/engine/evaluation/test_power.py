"""Which true scores the sealed test recognises; `bench/power.py` counts them with the exact p-value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation import power
from engine.evaluation.gaffke import Sample
from engine.evaluation.intervals import DIFFERENCES, SCORES, least_units
from engine.evaluation.power import JUDGE_LIKE, Law
from engine.settings.schema import Target

RISK = 0.05
RIGHT_OR_WRONG = Law((1.0, 100.0), (0.1, 0.9))


@given(st.floats(2, 99), st.sampled_from([JUDGE_LIKE, RIGHT_OR_WRONG]))
def test_a_tilted_law_has_the_mean_that_was_asked_for(mean: float, law: Law) -> None:
    found = power.tilted(law, mean)
    assert found.mean == pytest.approx(mean) and sum(found.shares) == pytest.approx(1)
    assert found.scores == law.scores


def test_no_law_has_a_mean_outside_of_its_scores() -> None:
    with pytest.raises(ValueError, match="is not between 1 and 100"):
        power.tilted(JUDGE_LIKE, 100)
    with pytest.raises(ValueError, match="no values"):
        power.like([])


def test_scores_as_judges_give_are_as_described() -> None:
    scores, shares = np.array(JUDGE_LIKE.scores), np.array(power.tilted(JUDGE_LIKE, 90).shares)
    assert sum(JUDGE_LIKE.shares) == pytest.approx(1)
    assert np.sqrt(shares @ (scores - 90) ** 2) == pytest.approx(18.5, abs=0.5)
    assert sum(JUDGE_LIKE.shares[:4]) == pytest.approx(0.05)
    assert power.judge_like_gaps().mean == pytest.approx(0)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([JUDGE_LIKE, RIGHT_OR_WRONG]),
    st.integers(5, 300),
    st.floats(80, 97),
    st.floats(60, 95),
    st.integers(0, 9),
)
def test_the_approximate_p_value_is_close_to_the_exact_one(
    law: Law, units: int, true: float, threshold: float, seed: int
) -> None:
    counts = np.random.default_rng(seed).multinomial(units, power.tilted(law, true).shares, 1)
    (found,) = power.p_values(np.array(law.scores), counts.astype(float), threshold, SCORES.low)
    exact = Sample(np.repeat(law.scores, counts[0]), *SCORES).p_value(threshold)
    if exact < 0.2:
        assert found == pytest.approx(exact, rel=0.06, abs=1e-6)
    else:
        assert found > 0.15, "it does not pass either"


def test_a_higher_mean_and_more_units_are_recognised_more_often() -> None:
    by_mean = [power.chance(power.tilted(JUDGE_LIKE, mean), 60, 85, RISK) for mean in (84.9, 88, 90, 93, 96)]
    by_units = [power.chance(power.tilted(JUDGE_LIKE, 90), units, 85, RISK) for units in (18, 40, 100, 300)]
    assert by_mean == sorted(by_mean) and by_mean[0] <= RISK < by_mean[-1]
    assert by_units[0] == 0, "18 are too few even for perfect scores"
    assert by_units == sorted(by_units) and by_units[-1] > 0.95


def test_all_scores_are_at_the_lowest_target() -> None:
    assert power.chance(JUDGE_LIKE, 1, SCORES.low, RISK) == 1.0


def test_a_score_is_recognised_from_the_number_on_that_is_named() -> None:
    true = power.recognised(JUDGE_LIKE, 150, 85, RISK)
    assert true == pytest.approx(90, abs=0.3), "as many as an independent simulation found"
    units = power.units_for(power.tilted(JUDGE_LIKE, true), 85, RISK)
    assert units == pytest.approx(150, rel=0.05)
    assert power.units_for(power.tilted(JUDGE_LIKE, 84), 85, RISK) is None
    assert power.units_for(power.tilted(JUDGE_LIKE, 88), 85, RISK, most=100) is None


def test_nothing_is_recognised_with_fewer_than_a_perfect_model_takes() -> None:
    least = least_units(100, 85, RISK)
    assert power.recognised(JUDGE_LIKE, least - 1, 85, RISK) is None
    assert power.recognised(JUDGE_LIKE, least + 3, 85, RISK) == pytest.approx(97.5, abs=2)


def test_the_number_that_is_needed_for_scores_like_these() -> None:
    values = np.repeat(JUDGE_LIKE.scores, np.random.default_rng(1).multinomial(80, power.tilted(JUDGE_LIKE, 90).shares))
    needed = power.needed(values, 85, RISK)
    assert needed is not None
    drawn = np.random.default_rng(2).choice(values, (400, needed))
    share = np.mean([Sample(row, *SCORES).p_value(85) <= RISK for row in drawn])
    assert share == pytest.approx(0.8, abs=0.06)
    assert power.needed(values, float(values.mean()), RISK) is None
    assert power.needed([99.0] * 9, 98.9, RISK) is None, "no number that nine prompts say something about"


def test_many_distinct_values_are_rounded() -> None:
    law = power.like(np.random.default_rng(3).beta(9, 1, 500) * 99 + 1)
    assert len(law.scores) <= power.MOST_POINTS + 1 and sum(law.shares) == pytest.approx(1)


def test_what_the_default_target_takes() -> None:
    told = power.sealed_power(Target(), 60, rows_per_unit=4)
    assert told is not None and told.recognised is not None
    assert (told.scored, told.target, told.other) == ("precision", 85, 75)
    assert 91 <= told.recognised <= 94
    assert [step.true for step in told.steps] == [90, 88, 87]
    assert [step.more for step in told.steps] == sorted(step.more for step in told.steps)
    assert all(4 * step.more <= step.rows <= 4.5 * step.more for step in told.steps)


def test_two_targets_that_are_equally_strict_take_more() -> None:
    one, both = (power.sealed_power(Target(precision=85, similarity=other), 150) for other in (75, 85))
    assert one is not None and both is not None and one.recognised is not None and both.recognised is not None
    assert both.scored == "both" and both.recognised > one.recognised


def test_a_stricter_similarity_is_the_one_that_is_told() -> None:
    told = power.sealed_power(Target(precision=70, similarity=80), 60)
    assert told is not None and (told.scored, told.target, told.other) == ("similarity", 80, 70)


def test_a_target_relative_to_the_service() -> None:
    few, many = (power.sealed_power(Target(relative_to_teacher=3), units) for units in (60, 1500))
    assert few is not None and many is not None
    assert few.recognised is None and [step.true for step in few.steps] == [0, -1, -2]
    assert many.recognised is not None and -2 < many.recognised < -1
    assert many.relative and many.target == -3


def test_no_step_is_told_twice() -> None:
    told = power.sealed_power(Target(precision=99, similarity=75), 5000)
    assert told is not None
    trues = [step.true for step in told.steps]
    assert trues == sorted(set(trues), reverse=True)


@pytest.mark.parametrize("target", [Target(precision=100), Target(relative_to_teacher=0)])
def test_a_target_without_room_is_not_told(target: Target) -> None:
    assert power.sealed_power(target, 60) is None


def test_differences_have_their_own_range() -> None:
    gaps = power.tilted(power.judge_like_gaps(), -1)
    assert power.chance(gaps, 400, -10, RISK, DIFFERENCES) > power.chance(gaps, 400, -3, RISK, DIFFERENCES) > 0
