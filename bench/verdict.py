"""Simulate migrations and count how often the claim is wrong; `--check` exits 1 where a figure misses its bar.

    python bench/verdict.py [--check] [--migrations N]

**Honest.** Each migration looks at its dev prompts after several rounds, picks a round as the engine does (the first
that passes the gate, else the best), and opens its sealed prompts. All rounds' models are truly 0.1 points below the
target of 85 in both scores: the hardest case. Bar: declared reached in at most 5 % of 2,000 migrations, whatever the
scores' shape, with dev scores that are 0 to 8 points optimistic, families of 5 prompts of which a share repeat their
family's score, 6 % of answers unreadable, the worst first, and 20 rounds. Beside it, on the same draws, the rule of
version 0.2: dev lower bounds at 1 % a look, prompts counted one by one, unreadable ones left out, and a sealed mean at
the target.

**Fewer.** Dev and sealed prompts together that it takes to reach the target in 80 % of migrations whose rounds are
truly 25 and 10 points below their best and then at it, judge-like scores: at least 20 % fewer than by the earlier rule.

**Shares.** How the evaluation prompts are best divided: the prompts that it takes, and how often the better of two
rounds, 4 points apart, is picked by its dev scores.

**Fast.** A decision on 10,000 prompts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from engine.evaluation.decision import GATE_RISK, decide
from engine.evaluation.gaffke import Sample
from engine.evaluation.intervals import SCORES
from engine.evaluation.scores import SplitScores, of_prompts
from engine.evaluation.sealed import settle
from engine.protocol.decision import PromptScore
from engine.settings.schema import Loop, Split, Target

Floats = NDArray[np.float64]
Dice = np.random.Generator

TARGET, BELOW, RISK = 85.0, 0.1, 0.05
MOST_WRONG, POWER, FEWER, SECONDS = 0.05, 0.8, 0.8, 0.5
ROUNDS = 4
DEV, SEALED = 60, 100

GOOD = np.array([90.0, 95, 95, 95, 95, 100, 100, 100, 100, 100])
MIDDLE, TAIL = np.arange(60.0, 81, 5), np.arange(1.0, 31)


def judge_like(dice: Dice, mean: float, shape: tuple[int, ...]) -> Floats:
    """Scores as judges give them: 90 to 100, and as many of 60 to 80 and of 1 to 30 as `mean` takes."""
    share = (GOOD.mean() - mean) / (2 * GOOD.mean() - MIDDLE.mean() - TAIL.mean())
    kind = dice.random(shape)
    low = np.where(kind < share, dice.choice(TAIL, shape), dice.choice(MIDDLE, shape))
    found: Floats = np.where(kind < 2 * share, low, dice.choice(GOOD, shape))
    return found


def right_or_wrong(dice: Dice, mean: float, shape: tuple[int, ...]) -> Floats:
    """100 or 1."""
    found: Floats = np.where(dice.random(shape) < (mean - 1) / 99, 100.0, 1.0)
    return found


def heavy_tailed(dice: Dice, mean: float, shape: tuple[int, ...]) -> Floats:
    """Few catastrophic answers among good ones, which differ by some points: 1 for one prompt in twenty."""
    good = (mean - 0.05) / 0.95
    found: Floats = np.where(dice.random(shape) < 0.05, 1.0, good + dice.uniform(-8, 8, shape))
    return found


LAWS: dict[str, Callable[[Dice, float, tuple[int, ...]], Floats]] = {
    "judge-like": judge_like,
    "right or wrong": right_or_wrong,
    "heavy tail": heavy_tailed,
}


@dataclass(frozen=True)
class Case:
    """What is unlike the ideal: points by which dev is optimistic, prompts of a family that repeat its score, ..."""

    name: str
    optimism: float = 0.0
    repeats: float = 0.0
    unreadable: float = 0.0
    rounds: int = ROUNDS


FAMILY = 5
CASES = (
    *(Case(f"dev +{points}", optimism=points) for points in (0, 3, 5, 8)),
    *(Case(f"{share:.0%} of families", repeats=share) for share in (0.3, 0.6, 0.9)),
    Case("6% unreadable", unreadable=0.06),
    Case("20 rounds", rounds=20),
)


def passes(values: Floats, threshold: float, risk: float) -> bool:
    """Whether the engine's lower bound for one set of units is at the threshold."""
    return bool(values.mean() >= threshold) and Sample(values, *SCORES).p_value(threshold) <= risk


def draw(case: Case, law: str, mean: float, shape: tuple[int, ...], dice: Dice) -> Floats:
    """Scores, shape (..., prompts), of one truth; NaN where no verdict is readable."""
    scores = LAWS[law](dice, mean, shape)
    if case.repeats:
        heads = np.repeat(scores[..., ::FAMILY], FAMILY, axis=-1)
        scores = np.where(dice.random(shape) < case.repeats, heads, scores)
    if case.unreadable:
        worst = scores < np.quantile(scores, 2 * case.unreadable)
        scores = np.where(worst & (dice.random(shape) < 0.5), np.nan, scores)
    return scores


def units(case: Case, scores: Floats) -> Floats:
    """What the engine counts of one set: the worst for what is missing, and one mean a family."""
    filled = np.where(np.isnan(scores), SCORES.low, scores)
    return filled.reshape(-1, FAMILY).mean(axis=1) if case.repeats else filled


def chosen(case: Case, dev: Floats, threshold: float) -> int:
    """The round whose model meets the sealed prompts: the first that passes the gate, else the best."""
    means = []
    for number, scores in enumerate(dev):
        counted = units(case, scores)
        if passes(counted, threshold, GATE_RISK):
            return number
        means.append(counted.mean())
    return int(np.argmax(means))


def earlier_rule(dev: Floats, sealed: Floats, threshold: float) -> bool:
    """Whether the earlier rule called the target reached."""
    for number, scores in enumerate(dev):
        if passes(scores[~np.isnan(scores)], threshold, GATE_RISK):
            return bool(np.nanmean(sealed[number]) >= threshold)
    return False


def wrong(case: Case, law: str, migrations: int, dice: Dice) -> tuple[float, float]:
    """The shares of migrations that are declared reached, by the engine's rule and by the earlier one."""
    truth = TARGET - BELOW
    new = old = 0
    for _ in range(migrations):
        dev = draw(case, law, truth, (case.rounds, DEV), dice)
        dev = np.minimum(dev + case.optimism, SCORES.high)
        sealed = draw(case, law, truth, (case.rounds, SEALED), dice)
        new += passes(units(case, sealed[chosen(case, dev, TARGET)]), TARGET, RISK)
        old += earlier_rule(dev, sealed, TARGET)
    return new / migrations, old / migrations


def both_scores(dice: Dice, mean: float, count: int) -> Floats:
    """Precision and similarity of prompts, shape (2, prompts): a half of the prompts have the same in both."""
    scores = judge_like(dice, mean, (2, count))
    return np.stack([scores[0], np.where(dice.random(count) < 0.5, scores[0], scores[1])])


def reached(best: float, dev_count: int, sealed_count: int, old: bool, dice: Dice) -> bool:
    """Whether one migration with rounds at best - 25, best - 10, best, best reaches 85 in both scores."""
    means = [best - 25, best - 10, best, best]
    dev = [both_scores(dice, mean, dev_count) for mean in means]
    gate = next((n for n, scores in enumerate(dev) if all(passes(one, TARGET, GATE_RISK) for one in scores)), None)
    if old and gate is None:
        return False
    number = gate if gate is not None else int(np.argmax([scores.mean() for scores in dev]))
    sealed = both_scores(dice, means[number], sealed_count)
    if old:
        return bool((sealed.mean(axis=1) >= TARGET).all())
    return all(passes(one, TARGET, RISK) for one in sealed)


def prompts_for_power(best: float, dev_share: float, old: bool, runs: int, dice: Dice) -> int:
    """Dev and sealed prompts together at which 80 % of migrations reach the target, by bisection over their number."""
    fewest, most = 20, 2560

    def power(count: int) -> float:
        dev = max(10, round(dev_share * count))
        return float(np.mean([reached(best, dev, count - dev, old, dice) for _ in range(runs)]))

    while most > 1.04 * fewest + 1:
        middle = round(np.sqrt(fewest * most))
        fewest, most = (fewest, middle) if power(middle) >= POWER else (middle, most)
    return most


def picked(dev_count: int, dice: Dice) -> float:
    """How often the better of two rounds, truly at 84 and 88, has the higher dev mean."""
    first, second = (judge_like(dice, mean, (2000, dev_count)).mean(axis=1) for mean in (84, 88))
    return float((second > first).mean())


def seconds_to_decide(prompts: int) -> float:
    """What a decision on a round takes from its prompts' scores on, and the final one, near the target."""
    dice = np.random.default_rng(0)

    def scores(mean: float, risk: float) -> SplitScores:
        both = both_scores(dice, mean, 4 * prompts).reshape(2, prompts, 4).mean(axis=2)
        rows = [
            PromptScore(id=f"{n:05}", precision=precision, similarity=similarity)
            for n, (precision, similarity) in enumerate(zip(*both.tolist(), strict=True))
        ]
        return of_prompts(rows, risk, verdicts=4 * prompts, errors=0)

    first = scores(60, GATE_RISK)
    began = time.process_time()
    target = Target(precision=TARGET, similarity=TARGET)
    decision = decide([first, scores(85.2, GATE_RISK)], target, Loop(), hours=0)
    settle(decision, scores(85.2, RISK), target)
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--migrations", type=int, default=2000, help="for each row of the first table")
    parser.add_argument("--runs", type=int, default=400, help="for each number of prompts tried in the second")
    args = parser.parse_args()
    began, dice, met, console = time.monotonic(), np.random.default_rng(7), True, Console()

    table = Table("case", title=f"truly {BELOW} below the target: declared reached, bar {MOST_WRONG:.0%}")
    for law in LAWS:
        table.add_column(law, justify="right")
        table.add_column("earlier rule", justify="right")
    for case in CASES:
        rates = [wrong(case, law, args.migrations, dice) for law in LAWS]
        met &= all(new <= MOST_WRONG for new, _ in rates)
        table.add_row(case.name, *(f"{rate:.1%}" for both in rates for rate in both))
    console.print(table)

    split = Split()
    share = split.dev / (split.dev + split.test)
    table = Table(
        "truly", title=f"dev and sealed prompts for {POWER:.0%}, judge-like; bar {FEWER:.0%} of the earlier rule"
    )
    for title in ("measured", "earlier rule", "share"):
        table.add_column(title, justify="right")
    for best in (88.0, 90.0, 95.0):
        new, old = (
            prompts_for_power(best, share, False, args.runs, dice),
            prompts_for_power(best, 0.5, True, args.runs, dice),
        )
        met &= new <= FEWER * old
        table.add_row(f"{best:g}", str(new), str(old), f"{new / old:.0%}")
    console.print(table)

    table = Table("dev : sealed", Column("prompts, truly 90", justify="right"), title="how to divide them")
    for title in ("better of two rounds picked, 100 prompts", "400 prompts"):
        table.add_column(title, justify="right")
    for dev_share in (0.5, 0.4, share, 0.3, 0.2):
        needed = prompts_for_power(90, dev_share, False, args.runs // 2, dice)
        row = [f"{picked(round(dev_share * count), dice):.0%}" for count in (100, 400)]
        table.add_row(f"{dev_share:.2f} : {1 - dev_share:.2f}", str(needed), *row)
    console.print(table)

    seconds = seconds_to_decide(10_000)
    met &= seconds <= SECONDS
    console.print(f"a decision on 10,000 prompts: {seconds:.2f} CPU seconds, bar {SECONDS:g}")
    console.print(f"{args.migrations} migrations a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
