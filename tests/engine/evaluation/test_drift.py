from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.drift import LEAST_SHIFT, STEP, beyond_noise, difference, drift, drifts
from engine.protocol import records
from engine.protocol.decision import Drift
from engine.protocol.rows import SecondVerdict, Verdict

SIMULATED = 2_000


def verdict(score: float | None, judge: str = "j", id_: str = "p", precision: float | None = None) -> Verdict:
    return Verdict(
        id=id_,
        sample=0,
        repeat=0,
        judge=judge,
        similarity=score,
        precision=score if precision is None else precision,
        similarity_reason="",
        precision_reason="",
        error="" if score is not None else "unreadable",
    )


def again(*pairs: tuple[float, float | None], judge: str = "j") -> list[SecondVerdict]:
    return [SecondVerdict(first=verdict(old, judge), again=verdict(new, judge)) for old, new in pairs]


def judge_like(dice: random.Random, count: int, moved: float, shift: float = 0.0, step: float = STEP) -> Drift:
    """Two scores of `count` answers, judged twice: of those that move, as many go up as down; then all shift."""

    def second() -> SecondVerdict:
        by = [dice.choice((-step, step)) if dice.random() < moved else 0.0 for _ in range(2)]
        new = verdict(60 + by[0] + shift, precision=60 + by[1] + shift)
        return SecondVerdict(first=verdict(60), again=new)

    return drift("j", [second() for _ in range(count)])


@pytest.mark.parametrize("count", [3, 10, 20, 40])
@pytest.mark.parametrize("moved", [0.02, 0.1, 0.2, 0.35])
def test_noise_alone_is_no_shift(count: int, moved: float) -> None:
    dice = random.Random(f"{count} {moved}")
    alarms = sum(judge_like(dice, count, moved).shifted for _ in range(SIMULATED))

    assert alarms <= 0.012 * SIMULATED


def test_a_noisy_judge_raises_few_alarms_too() -> None:
    dice = random.Random(1)
    alarms = sum(judge_like(dice, 20, 0.5, step=15).shifted for _ in range(SIMULATED))

    assert alarms <= 0.02 * SIMULATED


@pytest.mark.parametrize("shift", [-3.0, 3.0])
def test_a_shift_of_three_points_is_mostly_found(shift: float) -> None:
    dice = random.Random(2)
    found = sum(judge_like(dice, 20, 0.2, shift).shifted for _ in range(200))

    assert found >= 0.9 * 200


def test_a_judge_that_takes_a_step_down_on_most_answers_is_found() -> None:
    dice = random.Random(3)
    found = 0
    for _ in range(200):
        noise = [dice.choice((-STEP, STEP)) if dice.random() < 0.15 else 0.0 for _ in range(20)]
        stricter = [STEP if dice.random() < 0.6 else 0.0 for _ in range(20)]
        found += drift("j", again(*((60, 60 + n - s) for n, s in zip(noise, stricter, strict=True)))).shifted

    assert found >= 0.8 * 200


@pytest.mark.parametrize(
    ("pairs", "shifted"),
    [
        ([(60, 60)] * 20, False),
        ([(60, 57)] * 20, True),
        ([(60, 63)] * 20, True),
        ([(60, 59.5)] * 400, False),  # sure, and too small to matter
        ([(60, 65)] * 2 + [(60, 60)] * 18, False),
        ([(60, 40)] * 4, True),
        ([(60, 65)] * 2, False),
        ([(60, 65)], False),
        ([(60, 20), (60, 100)] * 10, False),
    ],
)
def test_what_counts_as_a_shift(pairs: Sequence[tuple[float, float]], shifted: bool) -> None:
    assert drift("j", again(*pairs)).shifted is shifted


def test_one_score_is_enough() -> None:
    rows = [SecondVerdict(first=verdict(60), again=verdict(60, precision=50)) for _ in range(20)]
    found = drift("j", rows)

    assert found.shifted and found.precision and found.similarity
    assert (found.precision.mean, found.similarity.mean) == (-10, 0)
    assert found.finding.startswith("a shift (precision -10.0 ± ") and "similarity +0.0 ± " in found.finding


def test_a_missing_verdict_is_counted_and_is_no_difference() -> None:
    found = drift("j", again((60, None), (60, 60), (60, 61)))

    assert (found.answers, found.missing, found.shifted) == (2, 1, False)
    assert found.precision and found.precision.mean == 0.5
    none = drift("j", again((60, None)))
    assert none == Drift(judge="j", answers=0, missing=1, precision=None, similarity=None, shifted=False)
    assert none.finding == "no readable verdict"


def test_each_judge_drifts_by_itself() -> None:
    rows = [*again(*[(60, 50)] * 20, judge="b"), *again(*[(60, 60)] * 20, judge="a")]
    found = drifts(rows)

    assert [(one.judge, one.answers, one.shifted) for one in found] == [("a", 20, False), ("b", 20, True)]
    assert drifts([]) == ()
    assert records.build(Drift, records.to_row(found[1])) == found[1]


@given(st.lists(st.floats(-99, 99), min_size=1, max_size=40))
def test_bounds_are_around_the_mean_and_turn_with_the_sign(points: list[float]) -> None:
    up, down = difference(points), difference([-point for point in points])

    assert up.low < up.mean < up.high
    assert (down.mean, down.low, down.high) == pytest.approx((-up.mean, -up.high, -up.low), abs=0.02)
    assert beyond_noise(up) is (abs(up.mean) >= LEAST_SHIFT and (up.low > 0 or up.high < 0))


@given(st.lists(st.floats(-20, 20), min_size=8, max_size=30), st.floats(-40, 40))
def test_the_bounds_move_with_the_differences(points: list[float], by: float) -> None:
    before, after = difference(points), difference([point + by for point in points])

    assert after.high - after.low == pytest.approx(before.high - before.low, abs=0.03)
    assert after.mean - before.mean == pytest.approx(by, abs=0.02)
