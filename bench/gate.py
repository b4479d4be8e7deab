"""Simulate gates with a true loss of exactly the margin and count the releases; `--check` exits 1 above the bar.

    python bench/gate.py [--check] [--gates N]

Each gate compares 56 prompts whose losses follow a law with a mean of 1 point, the margin, as the bounds of
`engine.release.comparison` do, at a risk of 5 %. A gate that releases such a model is wrong; at most some 5 % may be.
The laws differ in how many prompts lose something: all of them a little, or few of them a lot. Shown as well, without a
bar: rarer losses than 56 prompts can show (one prompt in 40), and how often models that lose nothing are released.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from engine.release.comparison import bounded

PROMPTS, MARGIN, RISK = 56, 1.0, 0.05

MOST_WRONG = 0.065
"""Of releases: the risk, and what 2,000 gates stray by."""

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator], Floats]


def losing(share: float, loss: float) -> Draw:
    """Each prompt loses as much with a chance of `share`."""
    return lambda dice: np.where(dice.random(PROMPTS) < share, -loss, 0.0)


def moving(share: float, points: float) -> Draw:
    """Each prompt gains or loses as much with a chance of `share`: a judge's noise between equal answers."""
    return lambda dice: np.where(dice.random(PROMPTS) < share, dice.choice([-points, points], PROMPTS), 0.0)


WRONG: Mapping[str, Draw] = {
    "all differ, by 1 ± 5 points": lambda dice: dice.normal(-1.0, 5.0, PROMPTS),
    "20 % lose 5 points": losing(0.2, 5.0),
    "10 % lose 10 points": losing(0.1, 10.0),
    "5 % lose 20 points": losing(0.05, 20.0),
    "10 % lose 0 to 20 points": lambda dice: -dice.uniform(0, 20, PROMPTS) * (dice.random(PROMPTS) < 0.1),
}

SHOWN: Mapping[str, Draw] = {
    "2.5 % lose 40 points": losing(0.025, 40.0),
    "30 % move by 5, and 4 % lose 25": lambda dice: moving(0.3, 5.0)(dice) + losing(0.04, 25.0)(dice),
    "equal: all answers identical": losing(0.0, 0.0),
    "equal: 10 % move by 5 points": moving(0.1, 5.0),
    "equal: 50 % move by 5 points": moving(0.5, 5.0),
}


def released(draw: Draw, gates: int, dice: np.random.Generator) -> float:
    """The share of gates that release."""
    return sum(bounded(np.clip(draw(dice), -99, 99), RISK).low >= -MARGIN for _ in range(gates)) / gates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--gates", type=int, default=2000, help="for each row")
    args = parser.parse_args()
    began, dice, met = time.monotonic(), np.random.default_rng(5), True
    table = Table("the served model", "at most", "released", title=f"{PROMPTS} prompts, margin {MARGIN:g} point")
    for name, draw in WRONG.items():
        share = released(draw, args.gates, dice)
        met &= share <= MOST_WRONG
        table.add_row(name, f"{MOST_WRONG:.1%}", f"{share:.1%}")
    for name, draw in SHOWN.items():
        table.add_row(name, "", f"{released(draw, min(args.gates, 400), dice):.1%}")
    Console(width=100).print(table, f"{args.gates:,} gates a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
