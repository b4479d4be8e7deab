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

ENOUGH = float(np.log(4 / RISK))
"""The log wealth of the sequence over everything that is harm: it has half of the risk of harm."""

REPEATED = 5
"""Canaries of each row that the engine's own object repeats."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ends:
    """How canaries ended, a row each: after how many comparisons, with the largest share, and the loss in points."""

    rolled_back: Flags
    complete: Flags
    compared: Ints
    largest: Floats
    loss: Floats


class Crowd:
    """Canaries on one law, as arrays with a row each: all that a `Canary` keeps, and no object for each look.

    The sums are those of the logarithms of 1 + b x, in columns for the bets b.
    """

    def __init__(self, law: Law, canaries: int) -> None:
        whole = begin(MARGIN).overall
        self.law, self.whole, width = law, whole, whole.high - whole.low
        scaled = (law.values - whole.low) / width
        self.place = 1 - (whole.least - whole.low) / width
        self.gained, self.lost = log_growth(scaled, whole.gains), log_growth(1 - scaled, whole.losses)
        self.needed = np.array([(-MARGIN / share - whole.low) / width for share in STEPS])
        self.gains, self.losses, self.recent = (np.zeros((canaries, len(whole.gains))) for _ in range(3))
        self.count = 0
        self.lately, self.begun, self.step = np.zeros(canaries, int), np.ones(canaries, int), np.zeros(canaries, int)
        self._ends = np.cumsum(law.chances)[:-1]

    @property
    def share(self) -> Floats:
        return np.array(STEPS)[self.step]

    def draw(self, rows: Ints, number: int, dice: np.random.Generator) -> Ints:
        """The places in the law's values of so many comparisons of the canaries in `rows`."""
        return np.searchsorted(self._ends, dice.random((len(rows), number)), side="right")

    def take(self, rows: Ints, drawn: Ints) -> None:
        """Add comparisons to the sums; their order does not matter."""
        counts = self.counts(drawn)
        grown = counts @ self.lost
        self.gains[rows] += counts @ self.gained
        self.losses[rows] += grown
        self.recent[rows] += grown
        self.lately[rows] += drawn.shape[1]
        self.count += drawn.shape[1]

    def counts(self, drawn: Ints) -> Floats:
        """How often each of the law's values was drawn, a row a canary."""
        values = len(self.law.values)
        at = drawn + np.arange(len(drawn))[:, None] * values
        return np.bincount(at.ravel(), minlength=len(drawn) * values).reshape(len(drawn), values).astype(float)

    def bars(self, rows: Ints) -> Floats:
        """The log wealth at which the newest comparisons are harm, by how often they have begun."""
        known: Floats = np.array([np.log(2 / newest(MARGIN, RISK, n).risk) for n in range(1, self.begun.max() + 1)])
        found: Floats = known[self.begun[rows] - 1]
        return found

    def harmed(self, rows: Ints) -> Flags:
        """Which of the canaries in `rows` roll back now."""
        overall = log_wealth(self.losses[rows], self.whole.losses, self.count, self.place)
        lately = log_wealth(self.recent[rows], self.whole.losses, self.lately[rows], self.place)
        return (overall >= ENOUGH) | (lately >= self.bars(rows))

    def move(self, rows: Ints) -> None:
        """Raise the shares as the bounds allow, and begin again with the newest where they are raised or many."""
        allowed = log_wealth(self.gains[rows, None], self.whole.gains, self.count, self.needed[1:]) >= np.log(2 / RISK)
        found = np.maximum(self.step[rows], allowed.sum(axis=1))  # the first step is open from the start
        again = rows[(found > self.step[rows]) | (self.lately[rows] >= RECENT)]
        self.step[rows] = found
        self.recent[again], self.lately[again] = 0.0, 0
        self.begun[again] += 1


def simulate(law: Law, canaries: int, dice: np.random.Generator) -> Ends:
    """Let canaries run, all at once, until each has ended; the engine's own object repeats some of them."""
    crowd, live = Crowd(law, canaries), np.arange(canaries)
    back, complete = np.zeros(canaries, bool), np.zeros(canaries, bool)
    compared, largest, loss = np.full(canaries, COMPARED), np.zeros(canaries), np.zeros(canaries)
    kept = np.zeros((REPEATED, COMPARED))
    for start in range(0, COMPARED, LOOK):
        largest[live] = np.maximum(largest[live], crowd.share[live])
        loss[live] -= crowd.share[live] * law.mean * LOOK
        drawn = crowd.draw(live, LOOK, dice)
        repeated = live < len(kept)
        kept[live[repeated], start : start + LOOK] = law.values[drawn[repeated]]
        crowd.take(live, drawn)
        harmed = crowd.harmed(live)
        back[live[harmed]] = True
        crowd.move(live[~harmed])
        complete[live[~harmed]] = crowd.step[live[~harmed]] == len(STEPS) - 1
        ended = back[live] | complete[live]
        compared[live[ended]] = start + LOOK
        live = live[~ended]
        if not len(live):
            break
    ends = Ends(back, complete, compared, largest, loss / compared)
    repeat(ends, kept)
    return ends


def repeat(ends: Ends, values: Floats) -> None:
    """Give the engine's own object what the first canaries got; it must end as each of them did."""
    for at, given in enumerate(values[: len(ends.compared)]):
        canary = begin(MARGIN)
        for start in range(0, int(ends.compared[at]), LOOK):
            if canary.rolled_back or canary.complete:
                raise SystemExit(f"canary {at} ended after {start} comparisons; simulated, after {ends.compared[at]}")
            canary = canary.after(given[start : start + LOOK].tolist())
        if (bool(canary.rolled_back), canary.complete) != (ends.rolled_back[at], ends.complete[at]):
            raise SystemExit(f"canary {at} ended otherwise than the engine's own object")


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
    """Let canaries run on a model that is worse by the margin, all at once, and on after a roll-back.

    The share is raised, and with that the newest comparisons begin again, at the end of a block only.
    """
    crowd, every = Crowd(law, canaries), np.arange(canaries)
    back, each = np.zeros(canaries, bool), np.zeros(canaries, bool)
    objects = [begin(MARGIN) for _ in range(min(REPEATED, canaries))]
    for _ in range(0, LONG, BLOCK):
        drawn = crowd.draw(every, BLOCK, dice)
        overall = crossed(crowd, crowd.losses, np.full(canaries, crowd.count), drawn, np.full(canaries, ENOUGH))
        back |= overall | crossed(crowd, crowd.recent, crowd.lately, drawn, crowd.bars(every))
        each |= back | crossed(crowd, crowd.recent, crowd.lately, drawn, np.full(canaries, np.log(2 / RISK)))
        crowd.take(every, drawn)
        crowd.move(every)
        objects = [
            one if one.rolled_back else one.after(law.values[drawn[at]].tolist()) for at, one in enumerate(objects)
        ]
        beside(crowd, back, objects)
    return Wrong(float(back.mean()), float(each.mean()), float(crowd.begun.mean()))


def crossed(crowd: Crowd, sums: Floats, count: Ints, drawn: Ints, bars: Floats) -> Flags:
    """Whose wealth reaches its bar after any comparison of a block; only those that may are looked at in full.

    The mean wealth of all bets is at most the best bet's, and that is within the block at most what it was, and all
    that the block adds to it without what it takes away.
    """
    steps = np.log1p(crowd.place * np.array(crowd.whole.losses))
    most = sums - count[:, None] * steps + crowd.counts(drawn) @ np.maximum(crowd.lost - steps, 0)
    near = np.flatnonzero(most.max(axis=1) >= bars)
    grown = sums[near, None] + np.cumsum(crowd.lost[drawn[near]], axis=1)
    seen = (count[near, None] + np.arange(1, drawn.shape[1] + 1)).astype(float)
    reached = np.zeros(len(sums), bool)
    reached[near] = (log_wealth(grown, crowd.whole.losses, seen, crowd.place) >= bars[near, None]).any(axis=1)
    return reached


def beside(crowd: Crowd, back: Flags, objects: list[Canary]) -> None:
    """The engine's own object, which looks after each block only, must stand where the canary of the same row does."""
    for at, one in enumerate(objects):
        if one.rolled_back and not back[at]:
            raise SystemExit(f"canary {at} goes on where the engine's own object is rolled back")
        if not one.rolled_back and (one.begun, one.share) != (crowd.begun[at], STEPS[crowd.step[at]]):
            raise SystemExit(f"canary {at} stands elsewhere than the engine's own object")


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
        ends = simulate(law, args.canaries, dice)
        right = ends.rolled_back & (ends.largest <= THIRD) if back else ends.complete
        bar, share = (LEAST_BACK if back else LEAST_ALL), float(right.mean())
        met &= share >= bar
        middle, most = np.quantile(ends.compared[right] if right.any() else [COMPARED], (0.5, 0.95))
        must, loss = "be rolled back before a third" if back else "reach everything", float(ends.loss.max())
        table.add_row(name, must, f"{bar:.0%}", f"{share:.1%}", f"{middle:,.0f}", f"{most:,.0f}", f"{loss:.2f}")
    few, right_errors = errors(args.canaries, dice)
    met &= right_errors
    Console(width=150).print(table, few, f"{args.canaries:,} canaries a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
