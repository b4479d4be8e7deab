"""Simulate canaries request by request and count how they end; `--check` exits 1 where a figure misses its bar.

    python bench/canary.py [--check] [--canaries N]

Each canary gets up to 10,000 compared answers, whose differences are as a judge's scores are, and moves as
`engine.takeover.canary` says: the share rises with the bound, and a verdict of harm rolls back. Bars, of 2,000 of
them: a local model that is 5 points worse is rolled back before its share passes a third in at least 95 %, and an
equal one reaches all of the traffic in at least 80 %. Also shown: the loss that a canary causes, in points over all
requests.

Wrong: a local model that is worse by the margin exactly goes on for 20,000 comparisons, with a look after each, ten and
more beginnings of the newest ones among them. Bar: rolled back in at most 2.5 %, half of the risk. Also shown: how many
would be if each beginning had the whole risk again.
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

from engine.evaluation.sequence import Verdict, log_growth, log_wealth
from engine.takeover.canary import RECENT, STEPS, Canary, begin, newest

COMPARED, LOOK = 10_000, 50
"""Comparisons a canary, and how many of them come between two looks: fewer only take longer to simulate."""

MARGIN, THIRD, RISK = 2.0, 1 / 3, 0.05
LONG, BLOCK = 20_000, 100
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
        canary = canary.after(drawn[start : start + LOOK].tolist())
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


@dataclass(frozen=True, slots=True)
class Wrong:
    """Shares of canaries that were rolled back, at any time; `each` where every beginning has the whole risk."""

    back: float
    each: float
    begun: float


def wrong(law: Law, canaries: int, dice: np.random.Generator) -> Wrong:
    """Let canaries run on a model that is worse by the margin, all at once: nothing in it is an object a canary.

    The share is raised, and with that the newest comparisons begin again, at the end of a block only.
    """
    whole = begin(MARGIN).overall
    scaled = (law.values - whole.low) / (whole.high - whole.low)
    gained, lost = log_growth(scaled, whole.gains), log_growth(1 - scaled, whole.losses)
    place = 1 - (whole.least - whole.low) / (whole.high - whole.low)
    gains, losses, recent = (np.zeros((canaries, len(whole.gains))) for _ in range(3))
    count, begun, step = np.zeros(canaries, int), np.ones(canaries, int), np.zeros(canaries, int)
    back, each = np.zeros(canaries, bool), np.zeros(canaries, bool)
    enough = float(np.log(4 / RISK))  # of the sequence over everything, which has half of the risk of harm
    needed = np.array([(-MARGIN / share - whole.low) / (whole.high - whole.low) for share in STEPS])
    for start in range(0, LONG, BLOCK):
        drawn = dice.choice(len(law.values), size=(canaries, BLOCK), p=law.chances)
        grown = np.cumsum(lost[drawn], axis=1)
        seen = start + np.arange(1, BLOCK + 1)
        bars = np.array([np.log(2 / newest(MARGIN, RISK, number).risk) for number in begun])[:, None]
        lately = count[:, None] + np.arange(1, BLOCK + 1)
        newest_wealth = highest(recent[:, None] + grown, whole.losses, lately, place, bars.min())
        overall_wealth = highest(losses[:, None] + grown, whole.losses, seen, place, enough)
        back |= (overall_wealth >= enough).any(1)
        back |= (newest_wealth >= bars).any(1)
        each |= back | (newest_wealth >= np.log(2 / RISK)).any(1)
        losses, recent, count = losses + grown[:, -1], recent + grown[:, -1], count + BLOCK
        gains = gains + gained[drawn].sum(1)
        after = np.minimum(step + 1, len(STEPS) - 1)
        raised = log_wealth(gains, whole.gains, start + BLOCK, needed[after]) >= np.log(2 / RISK)
        raised &= step < after
        step = np.where(raised, after, step)
        again = raised | (count >= RECENT)
        recent[again], count, begun = 0.0, np.where(again, 0, count), begun + again
    return Wrong(float(back.mean()), float(each.mean()), float(begun.mean()))


def highest(
    sums: NDArray[np.float64], bets: tuple[float, ...], count: NDArray[np.int64], mean: float, enough: float
) -> NDArray[np.float64]:
    """The log wealth, exact where it may be `enough`: the best bet's is never below the mean of all."""
    best: NDArray[np.float64] = (sums - count[..., None] * np.log1p(mean * np.array(bets))).max(axis=-1)
    rows, at = np.nonzero(best >= enough)
    counts = np.broadcast_to(count, best.shape)[rows, at].astype(np.float64)
    best[rows, at] = log_wealth(sums[rows, at], bets, counts, mean)
    return best


def errors(canaries: int, dice: np.random.Generator) -> tuple[Table, bool]:
    """The wrong roll-backs, and whether they are few enough."""
    table, met = Table("the margin worse", "bar", title=f"wrong roll-backs within {LONG:,} comparisons"), True
    for title in ("measured", "if each beginning had the whole risk", "beginnings, mean"):
        table.add_column(title, justify="right")
    for name, law in (("like a judge's scores", JUDGED), ("mild", MILD), ("right or wrong", RIGHT_OR_WRONG)):
        found = wrong(shifted(law, -MARGIN), canaries, dice)
        met &= found.back <= RISK / 2
        table.add_row(name, f"{RISK / 2:.1%}", f"{found.back:.2%}", f"{found.each:.1%}", f"{found.begun:.0f}")
    return table, met


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
    few, right_errors = errors(args.canaries, dice)
    met &= right_errors
    Console(width=150).print(table, few, f"{args.canaries:,} canaries a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
