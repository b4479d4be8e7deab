"""Simulate sealed tests of models that should just be recognised; `--check` exits 1 where a figure misses its bar.

    python bench/power.py [--check] [--runs N]

For each law of scores and number of sealed prompts `engine.evaluation.power` names the lowest true score that is
recognised in 80 % of runs, and how many prompts recognise a given one. Here both are counted with the exact p-value, on
draws of other seeds: 80 % within 4 points. Then whole runs at the same number of rows with several shares of dev and
sealed prompts: how often they end as reached, and after how many rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from engine.evaluation import power
from engine.evaluation.decision import GATE_RISK
from engine.evaluation.gaffke import Sample
from engine.evaluation.intervals import DIFFERENCES, SCORES, Range
from engine.evaluation.power import JUDGE_LIKE, Law
from engine.protocol.power import POWER
from engine.settings.schema import Target

Floats = NDArray[np.float64]
Dice = np.random.Generator

SIZES = (30, 60, 150, 400)
THRESHOLD, RISK = 85.0, 0.05
WITHIN = 0.04
"""How far the counted share may be from 80 %."""

MOST_S = 1.0
"""CPU seconds for the sentences that `check` says."""

LAWS = {
    "judge-like": JUDGE_LIKE,
    "right or wrong": Law((1.0, 100.0), (0.1, 0.9)),
    "mild": Law(tuple(map(float, range(60, 101, 5))), (1 / 9,) * 9),
}

ROUNDS = (-25.0, -10.0, -3.0, 0.0, 0.0)
"""What the untuned model and each round's are away from the best there will be."""

ROWS = 600
TRUE = 91.0
SHARES = ((0.05, 0.35), (0.1, 0.3), (0.12, 0.28), (0.15, 0.25), (0.2, 0.2), (0.25, 0.15), (0.15, 0.15), (0.15, 0.35))


class Counted(NamedTuple):
    """The share of runs in which a true mean was recognised, and what was foretold."""

    law: str
    units: int
    threshold: float
    true: float
    share: float

    @property
    def met(self) -> bool:
        return abs(self.share - POWER) <= WITHIN


def recognised_share(law: Law, units: int, threshold: float, within: Range, runs: int, dice: Dice) -> float:
    """How often the exact p-value passes, on draws of this law."""
    values = np.array(law.scores)
    counts = dice.multinomial(units, law.shares, runs)
    return float(np.mean([passes(np.repeat(values, row), threshold, RISK, within) for row in counts]))


def passes(values: Floats, threshold: float, risk: float, within: Range = SCORES) -> bool:
    return bool(values.mean() >= threshold and Sample(values, *within).p_value(threshold) <= risk)


def counted(runs: int, dice: Dice) -> Iterator[Counted]:
    """Each law and size at the score that should just be recognised, and each law at the number for true scores."""
    for name, law in LAWS.items():
        for units in SIZES:
            true = power.recognised(law, units, THRESHOLD, RISK)
            if true is None:
                raise ValueError(f"{name}: nothing is recognised with {units} prompts")
            share = recognised_share(power.tilted(law, true), units, THRESHOLD, SCORES, runs, dice)
            yield Counted(name, units, THRESHOLD, true, share)
        for true in (88.0, 90.0):
            moved = power.tilted(law, true)
            needed = power.units_for(moved, THRESHOLD, RISK)
            if needed is None:
                raise ValueError(f"{name}: no number is enough for {true:g}")
            share = recognised_share(moved, needed, THRESHOLD, SCORES, runs, dice)
            yield Counted(f"{name}, number for", needed, THRESHOLD, true, share)
    gaps = power.judge_like_gaps()
    for allowed, units in ((10.0, 60), (10.0, 150), (3.0, 400), (3.0, 1500)):
        true = power.recognised(gaps, units, -allowed, RISK, DIFFERENCES)
        if true is None:
            raise ValueError(f"nothing is recognised with {units} differences")
        share = recognised_share(power.tilted(gaps, true), units, -allowed, DIFFERENCES, runs, dice)
        yield Counted("differences", units, -allowed, true, share)


def migrations(dev: int, sealed: int, runs: int, dice: Dice) -> tuple[float, float, float]:
    """Of simulated migrations: the share reached, the mean number of rounds, and points that the chosen round lacks.

    A round that passes the gate on dev opens the sealed test; else the one with the best dev mean does in the end.
    """
    laws = [power.tilted(JUDGE_LIKE, TRUE + away) for away in ROUNDS]
    values = np.array(JUDGE_LIKE.scores)
    reached, rounds, lost = 0, 0, 0.0
    for _ in range(runs):
        looks = [np.repeat(values, dice.multinomial(dev, law.shares)) for law in laws]
        gate = (number for number, look in enumerate(looks) if passes(look, THRESHOLD, GATE_RISK))
        number = next(gate, None)
        rounds += len(looks) - 1 if number is None else number
        chosen = int(np.argmax([look.mean() for look in looks])) if number is None else number
        lost -= ROUNDS[chosen]
        reached += passes(np.repeat(values, dice.multinomial(sealed, laws[chosen].shares)), THRESHOLD, RISK)
    return reached / runs, rounds / runs, lost / runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--runs", type=int, default=2000, help="simulated sealed tests of each row")
    args = parser.parse_args()
    began, dice, met = time.monotonic(), np.random.default_rng(11), True
    right = [Column(name, justify="right") for name in ("prompts", "target", "true", "recognised")]
    table = Table("law", *right, title=f"recognised in {POWER:.0%} of runs, within {WITHIN:.0%}")
    for row in counted(args.runs, dice):
        met &= row.met
        table.add_row(
            row.law,
            str(row.units),
            f"{row.threshold:g}",
            f"{row.true:.2f}",
            f"{row.share:.1%}{'' if row.met else ' ✗'}",
        )
    began_one = time.process_time()
    told = [
        power.sealed_power(target, units, rows_per_unit=4)
        for target, units in ((Target(), 60), (Target(relative_to_teacher=3), 400))
    ]
    seconds = (time.process_time() - began_one) / len(told)
    met &= seconds < MOST_S and None not in told
    columns = [Column(name, justify="right") for name in ("dev", "sealed", "reached", "rounds", "points lost")]
    shares = Table(*columns, title=f"{ROWS} rows, best round truly {TRUE:g}, target {THRESHOLD:g}, judge-like scores")
    for dev, sealed in SHARES:
        reached, rounds, lost = migrations(round(dev * ROWS), round(sealed * ROWS), args.runs, dice)
        shares.add_row(f"{dev:.0%}", f"{sealed:.0%}", f"{reached:.1%}", f"{rounds:.2f}", f"{lost:.2f}")
    console = Console()
    console.print(table, shares, f"the sentences of a target: {seconds:.2f} CPU seconds (bar {MOST_S:g})")
    for one in filter(None, told):
        console.print(*(f"  {sentence}\n" for sentence in one.sentences), sep="")
    console.print(f"{args.runs} runs a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
