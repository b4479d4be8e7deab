"""Simulate migrations and count how often the decision is wrong; `--check` exits 1 where a figure misses its bar.

    python bench/verdict.py [--check] [--migrations N]

Each migration looks at its dev prompts before and after four rounds of tuning, every time at a model that is truly 1
point below the target in precision, while similarity passes: the hardest case. Prompts differ in one of four ways; each
has two answers with two verdicts of a judge that wavers, and half of the prompts keep their quality from one round to
the next. Bars: declared reached in at most 5 % of 2,000 migrations, for every spread and number of prompts; a model
truly 5 points above in both, with 200 prompts: in at least 80 %, for every spread. Beside it, on the same verdicts: the
published rule (the mean is at the target at any look), and a 95 % percentile bootstrap at every look.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from engine.evaluation.decision import decide, look_risk
from engine.evaluation.intervals import RESAMPLES, SCORES, lower_bounds
from engine.evaluation.scores import SplitScores
from engine.protocol.decision import Interval, Shares
from engine.settings.schema import Loop, Target

Floats = NDArray[np.float64]
Dice = np.random.Generator

SIZES = (20, 50, 100, 200)
LOOKS = 5
SAMPLES, REPEATS = 2, 2
ANSWER_SD, JUDGE_SD = 6.0, 4.0
"""Points by which answers to one prompt differ, and verdicts on one answer."""

KEPT = 0.5
"""Share of prompts that a round leaves at the quality of the round before."""

POPULATION = 400_000
AT_ONCE = 1000
MOST_WRONG, LEAST_RIGHT = 0.05, 0.8
LOOP = Loop(max_rounds=LOOKS - 1, patience=100)

SPREADS: dict[str, Callable[[Dice, tuple[int, ...]], Floats]] = {
    "even": lambda dice, shape: np.clip(dice.normal(84, 9, shape), *SCORES),
    "skewed": lambda dice, shape: 1 + 99 * dice.beta(5, 0.9, shape),
    "heavy left tail": lambda dice, shape: np.where(
        dice.random(shape) < 0.13, 1 + 99 * dice.beta(1.5, 5, shape), 1 + 99 * dice.beta(14, 1, shape)
    ),
    "right or wrong": lambda dice, shape: dice.beta(1.6, 0.3, shape),
}
"""Each prompt's quality: its expected score, or, for "right or wrong", the chance that an answer gets 100, not 1."""


def judged(spread: str, quality: Floats, dice: Dice) -> tuple[Floats, Floats]:
    """Precision and similarity of prompts of these qualities: the means of all verdicts on the same answers."""
    shape = (SAMPLES, *quality.shape)
    if spread == "right or wrong":
        answers = np.where(dice.random(shape) < quality, SCORES.high, SCORES.low)
    else:
        answers = quality + dice.normal(0, ANSWER_SD, shape)
    verdicts = np.round(answers + dice.normal(0, JUDGE_SD, (2, REPEATS, *shape)))
    precision, similarity = np.clip(verdicts, *SCORES).mean(axis=(1, 2))
    return precision, similarity


def simulate(spread: str, prompts: int, migrations: int, dice: Dice) -> tuple[Floats, Floats]:
    """Precision and similarity of each prompt, shape (looks, migrations, prompts), of models that are all as good."""
    draw = SPREADS[spread]
    quality = [draw(dice, (migrations, prompts))]
    while len(quality) < LOOKS:
        kept = dice.random((migrations, prompts)) < KEPT
        quality.append(np.where(kept, quality[-1], draw(dice, (migrations, prompts))))
    return judged(spread, np.stack(quality), dice)


def truth(spread: str, dice: Dice) -> float:
    """The mean over all prompts there are, the same for both scores."""
    return float(np.mean(judged(spread, SPREADS[spread](dice, (POPULATION,)), dice)))


def intervals(scores: Floats, bar: float, risk: float) -> list[list[Interval]]:
    """The engine's bounds at each look of each migration; below the bar the mean, which no lower bound exceeds."""
    means = scores.mean(axis=2)
    lows = means.copy()
    above = np.argwhere(means >= bar)
    for start in range(0, len(above), AT_ONCE):
        places = tuple(above[start : start + AT_ONCE].T)
        lows[places] = lower_bounds(scores[places], risk, LOOP.seed, SCORES.low)
    return [
        [Interval(mean=mean, low=low, high=mean) for mean, low in zip(found, bound, strict=True)]
        for found, bound in zip(means.T.tolist(), lows.T.tolist(), strict=True)
    ]


def declared(precision: Floats, similarity: Floats, target: Target) -> float:
    """The share of migrations in which the engine's decision is `reached` at some look."""
    risk = look_risk(target, LOOP)
    found = (intervals(precision, target.precision, risk), intervals(similarity, target.similarity, risk))
    count, share = precision.shape[2], Shares(precision=1.0, similarity=1.0)
    reached = 0
    for looks in zip(*found, strict=True):
        rounds = [
            SplitScores(
                precision=p, similarity=s, coverage_50=share, coverage_70=share, prompts=count, verdicts=count, errors=0
            )
            for p, s in zip(*looks, strict=True)
        ]
        reached += any(decide(rounds[: n + 1], target, LOOP, hours=0).reached for n in range(LOOKS))
    return reached / precision.shape[1]


def by_mean(precision: Floats, bar: float) -> float:
    """The share in which the mean is at the bar at some look."""
    return float((precision.mean(axis=2) >= bar).any(axis=0).mean())


def by_percentiles(precision: Floats, bar: float, dice: Dice) -> float:
    """The share in which a percentile bootstrap's 95 % interval is above the bar at some look."""
    count = precision.shape[2]
    weights = dice.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    passed = precision.mean(axis=2) >= bar
    above = np.argwhere(passed)
    for start in range(0, len(above), AT_ONCE):
        places = tuple(above[start : start + AT_ONCE].T)
        passed[places] = np.quantile(precision[places] @ weights.T, 0.025, axis=1) >= bar
    return float(passed.any(axis=0).mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--migrations", type=int, default=2000, help="for each spread and number of prompts")
    args = parser.parse_args()
    began, dice, met = time.monotonic(), np.random.default_rng(7), True
    wrong = Table(
        "spread", Column("prompts", justify="right"), "bar", title="1 point below the target: declared reached"
    )
    for title in ("measured", "published rule", "percentile bootstrap"):
        wrong.add_column(title, justify="right")
    right = Table("spread", "bar", Column("measured", justify="right"), title="5 points above, 200 prompts: reached")
    for spread in SPREADS:
        true = truth(spread, dice)
        for prompts in SIZES:
            precision, similarity = simulate(spread, prompts, args.migrations, dice)
            rate = declared(precision, similarity, Target(precision=true + 1, similarity=SCORES.low))
            naive, percentile = by_mean(precision, true + 1), by_percentiles(precision, true + 1, dice)
            met &= rate <= MOST_WRONG
            rates = (f"{rate:.1%}", f"{naive:.0%}", f"{percentile:.1%}")
            wrong.add_row(spread, str(prompts), f"at most {MOST_WRONG:.0%}", *rates)
        power = declared(precision, similarity, Target(precision=true - 5, similarity=true - 5))
        met &= power >= LEAST_RIGHT
        right.add_row(spread, f"at least {LEAST_RIGHT:.0%}", f"{power:.1%}")
    console = Console()
    console.print(wrong, right, f"{args.migrations} migrations a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
