"""Simulate canaries and count wrong and right verdicts; `--check` exits 1 where a figure misses its bar.

    python bench/sequence.py [--check] [--canaries N]

A canary compares the local model's answers with the service's, request by request, and looks after each: for 5,000
requests, or until there is a verdict. Allowed is a mean of 2 points below the service, or agreement on 90 % of the
requests; the risk is 5 %, half of it for each verdict.

Wrong: the mean is exactly the allowed one, where both verdicts are wrong, or drifts such that its average never leaves
one side. Bars: each wrong verdict in at most 2.5 % of 2,000 canaries, and the average of the means so far outside of
the interval, at any time, in at most 5 %. Right: a model 5 points worse is stopped for harm in at least 95 %, an equal
one ends in success in at least 80 %, and as many for agreement on 85 and 95 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq  # type: ignore[import-untyped]

from engine.evaluation.sequence import Sequence, Verdict, agreements, differences, log_growth, log_wealth

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Dice = np.random.Generator

REQUESTS, BLOCK = 5000, 100
MARGIN, LEAST_AGREEMENT, RISK = 2.0, 0.9, 0.05
MOST_WRONG, MOST_OUTSIDE, LEAST_HARM, LEAST_SUCCESS = RISK / 2, RISK, 0.95, 0.8
REPLAYED = 2
"""Canaries of each row of right verdicts that the engine's own object repeats, value by value."""


class Law(NamedTuple):
    """Values and their chances."""

    values: Floats
    chances: Floats

    @property
    def mean(self) -> float:
        return float(self.values @ self.chances)


def law(chances: dict[float, float]) -> Law:
    return Law(np.array(list(chances)), np.array(list(chances.values())))


def paired(scores: dict[float, float], same: float) -> Law:
    """Differences of two scores of one law, which are the same for a share of the requests."""
    found: dict[float, float] = {0.0: same}
    for first, p in scores.items():
        for second, q in scores.items():
            found[first - second] = found.get(first - second, 0.0) + (1 - same) * p * q
    return law(found)


def shifted(base: Law, mean: float) -> Law:
    """The law with every value moved by the same, within the range, to a mean."""

    def moved(by: float) -> Law:
        return Law(np.clip(base.values + by, -99, 99), base.chances)

    return moved(brentq(lambda by: moved(by).mean - mean, -99, 99, xtol=1e-13))


def with_failures(base: Law, mean: float) -> Law:
    """The law where a share of the requests gets the worst difference instead, or the best, to a mean."""
    extreme = -99.0 if mean < base.mean else 99.0
    share = (mean - base.mean) / (extreme - base.mean)
    return Law(np.append(base.values, extreme), np.append(base.chances * (1 - share), share))


SCORES = {90.0: 0.25, 95.0: 0.3, 100.0: 0.25} | dict.fromkeys((60.0, 65.0, 70.0, 75.0, 80.0), 0.03)
SCORES |= dict.fromkeys((5.0, 10.0, 15.0, 20.0, 30.0), 0.01)
JUDGED = paired(SCORES, same=0.4)
MILD = paired(dict.fromkeys(np.arange(60.0, 101, 5), 1 / 9), same=0.0)
RIGHT_OR_WRONG = law({-99.0: 0.05, 0.0: 0.9, 99.0: 0.05})
FAILING = law({0.0: 0.95, -99.0: 0.05})
SAVED = law({0.0: 0.95, 99.0: 0.05})
RARE = law({0.0: 0.999, -99.0: 0.001})

Choice = Callable[[int, Floats], Ints]
"""Which law each canary draws from next, by the requests so far and the log wealth against the allowed mean."""


@dataclass(frozen=True)
class Traffic:
    """Requests that come from one of several laws, block by block."""

    name: str
    laws: tuple[Law, ...]
    choose: Choice = lambda _, wealth: np.zeros(len(wealth), dtype=np.int64)


@dataclass(kw_only=True)
class Outcome:
    """Of each canary: the requests until a verdict, by kind, infinite without one; and what was wrong at any time."""

    harm: Floats
    success: Floats
    wrong_harm: NDArray[np.bool_]
    wrong_success: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    replayed: Floats


def simulate(traffic: Traffic, begun: Sequence, canaries: int, dice: Dice, until_verdict: bool) -> Outcome:
    """Let canaries run, with the engine's functions, many at once."""
    width, bets = begun.high - begun.low, (begun.gains, begun.losses)
    place, enough = (begun.least - begun.low) / width, np.log(2 / begun.risk)
    values = np.concatenate([one.values for one in traffic.laws])
    means = np.array([one.mean for one in traffic.laws])
    scaled = (values - begun.low) / width
    growth = log_growth(scaled, begun.gains), log_growth(1 - scaled, begun.losses)
    sums = [np.zeros((canaries, len(kind))) for kind in bets]
    expected = np.zeros(canaries)
    first = np.full((2, canaries), np.inf)
    wrong = np.zeros((3, canaries), dtype=bool)
    replayed, live = np.empty((REPLAYED, REQUESTS)), np.arange(canaries)
    for start in range(0, REQUESTS, BLOCK):
        if until_verdict:
            live = np.flatnonzero(np.isinf(first).all(axis=0))
        if not len(live):
            break
        number = np.arange(start + 1, start + BLOCK + 1)
        chosen = traffic.choose(start, log_wealth(sums[1][live], begun.losses, start, 1 - place))
        drawn = draw(traffic.laws, chosen, dice)
        for row in np.flatnonzero(live < REPLAYED):
            replayed[live[row], start : start + BLOCK] = values[drawn[row]]
        grown = [np.cumsum(table[drawn], axis=1) + had[live, None] for table, had in zip(growth, sums, strict=True)]
        counts = number[None].astype(np.float64)
        average = (expected[live, None] + means[chosen][:, None] * np.arange(1, BLOCK + 1)) / number
        average = np.where(np.abs(average - begun.least) < 1e-9, begun.least, average)
        at = (average - begun.low) / width
        for side, against in enumerate((place, 1 - place)):
            passed = log_wealth(grown[side], bets[side], counts, against) >= enough
            now = np.where(passed.any(axis=1), number[passed.argmax(axis=1)], np.inf)
            first[side, live] = np.minimum(first[side, live], now)
            bad = average <= begun.least if side == 0 else average >= begun.least
            wrong[side, live] |= (passed & bad).any(axis=1)
            if not until_verdict:
                if (at != place).any():
                    passed = log_wealth(grown[side], bets[side], counts, abs(side - at)) >= enough
                wrong[2, live] |= passed.any(axis=1)
            sums[side][live] = grown[side][:, -1]
        expected[live] += means[chosen] * BLOCK
    return Outcome(
        success=first[0],
        harm=first[1],
        wrong_success=wrong[0],
        wrong_harm=wrong[1],
        outside=wrong[2],
        replayed=replayed,
    )


def draw(laws: tuple[Law, ...], chosen: Ints, dice: Dice) -> Ints:
    """Places in the values of all laws, one after the other, shape (canaries, BLOCK)."""
    places = np.empty((len(chosen), BLOCK), dtype=np.int64)
    offset = 0
    for number, one in enumerate(laws):
        rows = chosen == number
        ends = np.cumsum(one.chances)[:-1]
        places[rows] = offset + np.searchsorted(ends, dice.random((int(rows.sum()), BLOCK)), side="right")
        offset += len(one.values)
    return places


def replay(traffic: Traffic, begun: Sequence, found: Outcome) -> None:
    """Give the engine's own object one value after another; it must have the same verdict at the same request."""
    for values, *simulated in zip(found.replayed, found.harm, found.success, strict=False):
        standing, own = begun, [np.inf, np.inf]
        for value in values[: int(min(*simulated, REQUESTS))]:
            standing = standing.after(value)
            if standing.verdict is not Verdict.GO_ON:
                own[standing.verdict is Verdict.SUCCESS] = standing.count
                break
        if min(own) != min(simulated) or own.index(min(own)) != simulated.index(min(simulated)):
            raise SystemExit(f"{traffic.name}: {own} of the engine's own object, {simulated} simulated")


def halves(start: int, wealth: Floats) -> Ints:
    return np.full(len(wealth), int(start >= REQUESTS // 2))


def against_it(_: int, wealth: Floats) -> Ints:
    """An adversary: draws wildly until the sequence leans to harm, then so that it looks a little worse each time."""
    return (wealth > 0).astype(np.int64)


def wrongly() -> list[tuple[Traffic, Sequence]]:
    """Traffic on which a verdict, or one of the two, is wrong."""
    bar, scores, agreed = -MARGIN, differences(MARGIN, RISK), agreements(LEAST_AGREEMENT, RISK)
    wild = law({-99.0: (99 - bar) / 198, 99.0: (99 + bar) / 198})
    return [
        (Traffic("equal, like a judge's scores", (JUDGED,)), scores),
        (Traffic("allowed, like a judge's scores", (shifted(JUDGED, bar),)), scores),
        (Traffic("allowed, right or wrong", (with_failures(RIGHT_OR_WRONG, bar),)), scores),
        (Traffic("allowed, 5 % fail, the rest a little better", (shifted(FAILING, bar),)), scores),
        (Traffic("allowed, 0.1 % fail", (shifted(RARE, bar),)), scores),
        (Traffic("allowed, 5 % much better, the rest a little worse", (shifted(SAVED, bar),)), scores),
        (Traffic("better, then worse", (shifted(JUDGED, bar + 8), shifted(JUDGED, bar - 8)), halves), scores),
        (Traffic("worse, then better", (shifted(JUDGED, bar - 8), shifted(JUDGED, bar + 8)), halves), scores),
        (Traffic("allowed, an adversary", (wild, shifted(SAVED, bar)), against_it), scores),
        (Traffic("allowed agreement, 90 %", (law({1.0: 0.9, 0.0: 0.1}),)), agreed),
    ]


def rightly() -> list[tuple[Verdict, Traffic, Sequence]]:
    """Traffic on which there is a right verdict to be found."""
    scores, agreed = differences(MARGIN, RISK), agreements(LEAST_AGREEMENT, RISK)
    kinds = {"like a judge's scores": JUDGED, "mild": MILD, "right or wrong": RIGHT_OR_WRONG}
    return [
        *((Verdict.HARM, Traffic(f"5 worse, {kind}", (worse(one),)), scores) for kind, one in kinds.items()),
        (Verdict.HARM, Traffic("5 % fail, else equal", (FAILING,)), scores),
        (Verdict.HARM, Traffic("agrees on 85 %", (law({1.0: 0.85, 0.0: 0.15}),)), agreed),
        *((Verdict.SUCCESS, Traffic(f"equal, {kind}", (one,)), scores) for kind, one in kinds.items()),
        (Verdict.SUCCESS, Traffic("agrees on 95 %", (law({1.0: 0.95, 0.0: 0.05}),)), agreed),
    ]


def worse(one: Law) -> Law:
    return with_failures(one, -5.0) if one is RIGHT_OR_WRONG else shifted(one, -5.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--canaries", type=int, default=2000, help="for each row")
    args = parser.parse_args()
    began, dice, met = time.monotonic(), np.random.default_rng(7), True
    wrong = Table("traffic", title=f"wrong at any of {REQUESTS:,} looks")
    for name, most in (("harm", MOST_WRONG), ("success", MOST_WRONG), ("outside", MOST_OUTSIDE)):
        wrong.add_column(f"{name}\nat most {most:.1%}", justify="right")
    for traffic, begun in wrongly():
        found = simulate(traffic, begun, args.canaries, dice, until_verdict=False)
        rates = [float(one.mean()) for one in (found.wrong_harm, found.wrong_success, found.outside)]
        met &= max(rates[:2]) <= MOST_WRONG and rates[2] <= MOST_OUTSIDE
        wrong.add_row(traffic.name, *(f"{rate:.1%}" for rate in rates))
    right = Table("traffic", "verdict", "bar", title=f"right within {REQUESTS:,} requests")
    for title in ("measured", "median", "95th percentile"):
        right.add_column(title, justify="right")
    for verdict, traffic, begun in rightly():
        found = simulate(traffic, begun, args.canaries, dice, until_verdict=True)
        harm = verdict is Verdict.HARM
        replay(traffic, begun, found)
        requests, other = (found.harm, found.success) if harm else (found.success, found.harm)
        requests, least = np.where(requests < other, requests, np.inf), LEAST_HARM if harm else LEAST_SUCCESS
        rate = float(np.isfinite(requests).mean())
        met &= rate >= least
        median, slowest = (
            f"{n:,.0f}" if np.isfinite(n) else f"more than {REQUESTS:,}"
            for n in np.quantile(requests, (0.5, 0.95), method="higher")
        )
        right.add_row(traffic.name, verdict.value, f"at least {least:.0%}", f"{rate:.1%}", median, slowest)
    console = Console()
    console.print(wrong, right, f"{args.canaries:,} canaries a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
