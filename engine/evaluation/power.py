"""How good a model must be for the sealed test to recognise it, told before a run is paid for.

The sealed test passes where Gaffke's p-value at the target (`engine.evaluation.gaffke`) is at most the risk. The chance
of that, the power, depends on the law of the scores, which nobody knows beforehand. So a law is assumed, or taken from
scores at hand, and moved to each true mean by exponential tilting: every score x gets a weight in proportion to
exp(t x). Tilting keeps the range and which scores there are, and orders the laws by likelihood ratio, so that the power
rises with the mean. The power is counted over RUNS draws of a fixed seed. Their p-values come from Lugannani and Rice's
saddle-point formula (Adv. Appl. Prob. 12, 1980) on grouped scores, a matter of milliseconds: an approximation, within
5 % of the exact p-value where that is small (tests; `bench/power.py` checks the power against the exact one).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq  # type: ignore[import-untyped]
from scipy.special import ndtr  # type: ignore[import-untyped]

from engine.evaluation.intervals import DIFFERENCES, SCORES, Range, least_units
from engine.protocol.power import MOST_UNITS, POWER, Power, Scored, Step
from engine.settings.schema import Target

Floats = NDArray[np.float64]

RUNS = 2000
SEED = 42
"""Of the draws: the same question always gets the same answer."""

MOST_POINTS = 50
"""Steps of a law's range to which values at hand are rounded where more of them are distinct."""

MOST_TIMES = 100
"""Times the values at hand beyond which they say too little about so many more."""

MARGINS = (5 / 15, 3 / 15, 2 / 15)
"""Shares of the margin between the target and the best score, for the further steps: 90, 88 and 87 for 85."""

GAPS = (1.0, 2 / 3, 1 / 3)
"""The same for targets relative to the service: as good as it, and 1 and 2 points below it where 3 are allowed."""


class Law(NamedTuple):
    """Scores of independent units, ascending, and the share of the units that get each."""

    scores: tuple[float, ...]
    shares: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.dot(self.scores, self.shares))


JUDGE_LIKE = Law(
    scores=(1, 10, 20, 30, 60, 70, 80, 90, 95, 100),
    shares=(0.0125, 0.0125, 0.0125, 0.0125, 0.03, 0.03, 0.03, 0.215, 0.284, 0.361),
)
"""Scores as judges usually give, an assumption: most are 90, 95 or 100, some 60 to 80, and 5 % at 1 to 30, with a
standard deviation of 18 to 19 at means near 90."""

SAME = 0.5
"""Share of the prompts that are assumed to get the same score from the local model and from the service."""


def like(values: Sequence[float]) -> Law:
    """The law of values at hand, rounded to steps of their range where many are distinct.

    Raises ValueError for no values.
    """
    data = np.asarray(values, dtype=np.float64)
    if not data.size:
        raise ValueError("no values")
    if len(np.unique(data)) > MOST_POINTS:
        least, step = float(data.min()), float(np.ptp(data)) / MOST_POINTS
        data = least + step * np.round((data - least) / step)
    found, counts = np.unique(data, return_counts=True)
    return Law(tuple(found.tolist()), tuple((counts / counts.sum()).tolist()))


def judge_like_gaps() -> Law:
    """Differences between the local model's scores and the service's: a share of the prompts is `SAME`, the others are
    independent draws of scores as judges usually give."""
    scores, shares = np.array(JUDGE_LIKE.scores), np.array(JUDGE_LIKE.shares)
    gaps, places = np.unique(np.subtract.outer(scores, scores), return_inverse=True)
    weights = (1 - SAME) * np.bincount(places.ravel(), weights=np.outer(shares, shares).ravel())
    weights[gaps == 0] += SAME
    return Law(tuple(gaps.tolist()), tuple(weights.tolist()))


def tilted(law: Law, mean: float) -> Law:
    """The law with another mean, by exponential tilting. Raises ValueError for a mean that is not inside its range."""
    scores, shares = np.array(law.scores), np.array(law.shares)
    if not scores[0] < mean < scores[-1]:
        raise ValueError(f"{mean:g} is not between {scores[0]:g} and {scores[-1]:g}")
    scaled = (scores - mean) / (scores[-1] - scores[0])

    def weights(tilt: float) -> Floats:
        exponents = np.log(shares) + tilt * scaled
        heights = np.exp(exponents - exponents.max())
        found: Floats = heights / heights.sum()
        return found

    most = 1.0
    while weights(most) @ scaled < 0 or weights(-most) @ scaled > 0:
        most *= 2
    tilt = brentq(lambda tilt: float(weights(tilt) @ scaled), -most, most)
    return Law(law.scores, tuple(weights(tilt).tolist()))


def p_values(scores: Floats, counts: Floats, mean: float, low: float) -> Floats:
    """Approximate p-values of Gaffke's test of `mean` for samples of these scores, nowhere below `low`.

    `counts`, shape (samples, scores), is how often each sample has each score. 1 where a sample's mean, with the one
    more worst score, is not above `mean`: there the test never passes.
    """
    scales = np.concatenate([[low], scores]) - mean
    counts = np.concatenate([np.ones((len(counts), 1)), counts], axis=1)
    found = np.ones(len(counts))
    above = counts @ scales > 1e-9 * (abs(mean - low) + 1)
    counts = counts[above]
    least, most = np.full(len(counts), 1 / scales.min()), np.zeros(len(counts))
    point = least / 2
    for _ in range(60):  # Newton's method for the saddle point, kept between bounds
        ratios = scales / (1 - np.outer(point, scales))
        slope, curve = np.sum(counts * ratios, axis=1), np.sum(counts * ratios**2, axis=1)
        least, most = np.where(slope > 0, least, point), np.where(slope > 0, point, most)
        newton = point - slope / curve
        moved = np.where((newton > least) & (newton < most), newton, (least + most) / 2)
        settled = bool(np.all(np.abs(moved - point) <= 1e-4 * np.abs(point) + 1e-5 / abs(scales.min())))
        point = moved
        if settled:
            break
    root = -np.sqrt(2 * np.sum(counts * np.log1p(-np.outer(point, scales)), axis=1).clip(min=0))
    spread = point * np.sqrt(curve)
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = np.exp(-(root**2) / 2) / math.sqrt(2 * math.pi) * (1 / root - 1 / spread)
    found[above] = ndtr(root) + np.where(root < -0.05, correction, 0.0)  # near the mean the formula divides 0 by 0
    return found


def chance(law: Law, units: int, threshold: float, risk: float, within: Range = SCORES) -> float:
    """The share of samples of `units` units of this law whose lower bound at `risk` is at least `threshold`."""
    if threshold <= within.low:
        return 1.0
    counts = np.random.default_rng(SEED).multinomial(units, law.shares, RUNS).astype(np.float64)
    return float(np.mean(p_values(np.array(law.scores), counts, threshold, within.low) <= risk))


def recognised(
    law: Law,
    units: int,
    threshold: float,
    risk: float,
    within: Range = SCORES,
    power: float = POWER,
    best: float = math.inf,
) -> float | None:
    """The lowest true mean, for scores that are a tilted `law`, that `units` units recognise with a chance of `power`.

    None where the chance is smaller for every mean up to `best`.
    """
    step = (within.high - within.low) / 1000
    low, high = max(threshold, law.scores[0]), min(best, law.scores[-1] - step / 10)
    if high <= low or chance(tilted(law, high), units, threshold, risk, within) < power:
        return None
    while high - low > step / 2:
        middle = (low + high) / 2
        if chance(tilted(law, middle), units, threshold, risk, within) >= power:
            high = middle
        else:
            low = middle
    return high


def units_for(
    law: Law, threshold: float, risk: float, within: Range = SCORES, power: float = POWER, most: int = MOST_UNITS
) -> int | None:
    """The number of units of this law, within 2 %, that gives a chance of `power`; None where `most` are too few."""
    if law.mean <= threshold or law.scores[-1] <= threshold:
        return None

    def enough(units: int) -> bool:
        return chance(law, units, threshold, risk, within) >= power

    few = least_units(law.scores[-1], threshold, risk, within) - 1
    many = few + 1
    while not enough(many):
        few, many = many, 2 * many
        if few >= most:
            return None
    while many - few > max(1, 0.02 * many):
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many if many <= most else None


def needed(
    values: Sequence[float], threshold: float, risk: float, within: Range = SCORES, power: float = POWER
) -> int | None:
    """How many independent units like these, in all, pass `threshold` with a chance of `power`, at one look of `risk`.

    It holds where the true scores are spread as these are and have their mean, which itself is uncertain. None where
    these are not above the threshold, or where it takes more than MOST_TIMES as many. Takes some 50 ms.
    """
    return units_for(like(values), threshold, risk, within, power, MOST_TIMES * len(values))


def sealed_power(target: Target, units: int, *, unit: str = "prompt", rows_per_unit: float = 0.0) -> Power | None:
    """What `units` sealed units recognise in at least 80 % of runs, and what further steps take; within a second.

    It is about the stricter target; where both are equally strict, or relative to the service, each score gets the
    square root of the power, which is enough where the two don't depend on each other negatively. `rows_per_unit` is
    how many coverage rows it takes to have one more sealed unit. None where the target leaves no room for a better
    score.
    """
    question = _question(target)
    if question is None:
        return None
    threshold, best, law = question.threshold, question.best, question.law
    risk, power = 1 - target.confidence, math.sqrt(POWER) if question.scored == "both" else POWER
    found = recognised(law, units, threshold, risk, question.within, power, best)
    grid = 0.5 if best - threshold >= 5 else 0.1
    lowest = None if found is None else round(math.ceil(found / grid - 1e-6) * grid, 2)
    if lowest is not None and lowest > best:
        lowest = None
    steps = []
    trues = (
        round(round((threshold + share * (best - threshold)) / grid) * grid, 2) + 0.0 for share in question.margins
    )
    for true in dict.fromkeys(trues):  # on a narrow margin the grid makes two steps one
        if threshold < true < law.scores[-1] and (lowest is None or true < lowest):
            total = units_for(tilted(law, true), threshold, risk, question.within, power)
            more = _rounded(max(1, total - units)) if total is not None else 0
            steps.append(Step(true=true, more=more, rows=_rounded(more * rows_per_unit)))
    return Power(
        units=units,
        unit=unit,
        scored=question.scored,
        target=threshold,
        relative=question.within == DIFFERENCES,
        other=question.other,
        recognised=lowest,
        steps=tuple(steps),
        assumed=question.assumed,
    )


class _Question(NamedTuple):
    """What a target asks of the scores, and how they are assumed to be spread."""

    scored: Scored
    threshold: float
    other: float | None
    best: float
    within: Range
    margins: tuple[float, ...]
    law: Law
    assumed: str


def _question(target: Target) -> _Question | None:
    """The question that a target asks; None where it leaves no room."""
    within = SCORES if target.relative_to_teacher is None else DIFFERENCES
    if target.relative_to_teacher is not None:
        threshold = -target.relative_to_teacher
        assumed = "scores as judges usually give, half of them equal to the service's"
        asked = _Question("both", threshold, None, 0.0, within, GAPS, judge_like_gaps(), assumed)
        return asked if threshold < 0 else None
    precision, similarity = target.precision, target.similarity
    scored: Scored = "both" if precision == similarity else "precision" if precision > similarity else "similarity"
    threshold, other = max(precision, similarity), None if scored == "both" else min(precision, similarity)
    assumed = "scores as judges usually give"
    asked = _Question(scored, threshold, other, SCORES.high, within, MARGINS, JUDGE_LIKE, assumed)
    return asked if threshold < SCORES.high else None


def _rounded(number: float) -> int:
    """A number rounded up to two digits: more would claim more than is known."""
    if number < 10:
        return math.ceil(number)
    unit = int(10 ** (math.floor(math.log10(number)) - 1))
    return math.ceil(round(number / unit, 6)) * unit
