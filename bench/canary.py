"""Simulate canaries request by request and count how they end; `--check` exits 1 where a figure misses its bar.

    python bench/canary.py [--check] [--canaries N]

Each canary gets up to 10,000 compared answers, whose differences are as a judge's scores are, and moves as
`engine.takeover.canary` says: the share rises with the bound, and a verdict of harm rolls back. Bars, of 2,000 of
them: a local model that is 5 points worse is rolled back before its share passes a third in at least 95 %, and an
equal one reaches all of the traffic in at least 80 %. Also shown: the loss that a canary causes, in points over all
requests.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sequence import JUDGED, MILD, RIGHT_OR_WRONG, Law, shifted, worse

from engine.evaluation.sequence import Verdict
from engine.takeover.canary import Canary, begin

COMPARED, LOOK = 10_000, 50
"""Comparisons a canary, and how many of them come between two looks: fewer only take longer to simulate."""

MARGIN, THIRD = 2.0, 1 / 3
LEAST_BACK, LEAST_ALL = 0.95, 0.8


@dataclass(frozen=True, slots=True)
class End:
    """How one canary ended, after how many comparisons, its largest share, and the loss that it caused in points."""

    rolled_back: bool
    complete: bool
    compared: int
    largest: float
    loss: float


def simulate(law: Law, dice: np.random.Generator) -> End:
    canary, largest, loss = begin(MARGIN), 0.0, 0.0
    drawn: NDArray[np.float64] = dice.choice(law.values, size=COMPARED, p=law.chances)
    for start in range(0, COMPARED, LOOK):
        largest = max(largest, canary.share)
        loss -= canary.share * law.mean * LOOK
        canary = canary.after(drawn[start : start + LOOK])
        if canary.rolled_back or canary.complete:
            return End(bool(canary.rolled_back), canary.complete, start + LOOK, largest, loss / (start + LOOK))
    return End(False, False, COMPARED, largest, loss / COMPARED)


def rows() -> list[tuple[str, Law, bool]]:
    """Each law, and whether a canary on it must roll back."""
    kinds = {"like a judge's scores": JUDGED, "mild": MILD, "right or wrong": RIGHT_OR_WRONG}
    return [
        *((f"5 points worse, {kind}", worse(law), True) for kind, law in kinds.items()),
        *((f"equal, {kind}", law, False) for kind, law in kinds.items()),
        ("1 point better, like a judge's scores", shifted(JUDGED, 1.0), False),
    ]


def replay(dice: np.random.Generator) -> None:
    """A canary that looks after each comparison must end as one that looks now and then, but for the steps between."""
    drawn = dice.choice(worse(JUDGED).values, size=COMPARED, p=worse(JUDGED).chances)
    canary: Canary = begin(MARGIN)
    for value in drawn:
        canary = canary.after([float(value)])
        if canary.rolled_back:
            break
    if canary.overall.verdict is not Verdict.HARM and canary.recent.verdict is not Verdict.HARM:
        raise SystemExit("a canary of a worse model, value by value, ended without harm")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--canaries", type=int, default=2000, help="for each row")
    args = parser.parse_args()
    began, dice, met = time.monotonic(), np.random.default_rng(11), True
    replay(dice)
    table = Table("local model", "must", "bar", title=f"within {COMPARED:,} compared answers, margin {MARGIN:g} points")
    for title in ("measured", "comparisons, median", "95th percentile", "loss over all traffic, most"):
        table.add_column(title, justify="right")
    for name, law, back in rows():
        ends = [simulate(law, dice) for _ in range(args.canaries)]
        right = [end for end in ends if (end.rolled_back and end.largest <= THIRD if back else end.complete)]
        bar, share = (LEAST_BACK if back else LEAST_ALL), len(right) / len(ends)
        met &= share >= bar
        middle, most = np.quantile([end.compared for end in right] or [COMPARED], (0.5, 0.95))
        must = "be rolled back before a third" if back else "reach everything"
        loss = max(end.loss for end in ends)
        table.add_row(name, must, f"{bar:.0%}", f"{share:.1%}", f"{middle:,.0f}", f"{most:,.0f}", f"{loss:.2f}")
    Console(width=150).print(table, f"{args.canaries:,} canaries a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
