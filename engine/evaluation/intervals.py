"""Confidence bounds for a mean over prompts that hold for few prompts and skewed scores.

The lower bound is Gaffke's ("Three test statistics for a nonparametric one-sided hypothesis on the mean of a
nonnegative variable", Math. Methods of Statistics 14, 2005; Learned-Miller & Thomas, arXiv 1905.06208): a Bayesian
bootstrap (Rubin 1981) over the prompts and one more that got the worst score there is. It needs no shape of the scores,
only their range. For right-or-wrong scores it is the exact bound of Clopper and Pearson; for others neither a failure
nor a proof is known; with many prompts it comes to the usual bootstrap, which promises more than it holds for 20 skewed
scores (`bench/verdict.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.protocol.decision import Interval

Floats = NDArray[np.float64]

RESAMPLES = 10_000
DRAWN_AT_ONCE = 10_000_000
"""Bounds the memory of the bootstrap."""

MOST_COPIES = 1000.0
"""Times the prompts at hand beyond which no number of prompts is named."""


class Range(NamedTuple):
    """The lowest and the highest that one prompt can get."""

    low: float
    high: float


SCORES = Range(1.0, 100.0)
DIFFERENCES = Range(-99.0, 99.0)


def intervals(
    several: Sequence[Sequence[float]], risk: float, seed: int, within: Range = SCORES, unknown: int = 0
) -> list[Interval]:
    """For each of several scores of the same prompts, one number a prompt, the mean with bounds that the true mean
    passes with a chance of `risk`, each.

    The bounds hold whatever the numbers of `unknown` more prompts are: the worst for the lower one, the best for the
    upper (Manski, American Economic Review 80, 1990).
    """
    data = np.asarray(several, dtype=np.float64)
    worst, best = (np.pad(data, ((0, 0), (0, unknown)), constant_values=end) for end in within)
    ends = np.repeat([within.low, -within.high], len(data))
    lows, highs = lower_bounds(np.concatenate([worst, -best]), risk, seed, ends).reshape(2, -1).tolist()
    return [
        Interval(mean=round(mean, 2), low=round(min(low, mean), 2), high=round(max(-high, mean), 2))
        for mean, low, high in zip(data.mean(axis=1).tolist(), lows, highs, strict=True)
    ]


def lower_bounds(values: Floats, risk: float, seed: int, worst: float | Floats, copies: float = 1.0) -> Floats:
    """A lower bound for the mean of each row of `values`, shape (sets, prompts), which are nowhere below `worst`.

    `worst` is for all rows or one a row. `copies` of every prompt are taken to be there: the bound that so many more of
    the same kind would give.
    """
    rows, count = values.shape
    dice = np.random.default_rng(seed)
    step = max(1, DRAWN_AT_ONCE // (count + 1))
    means, ends = np.empty((rows, RESAMPLES)), np.broadcast_to(worst, rows)[:, None]
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        # Normalised gamma variables are a Dirichlet sample: the weights of the prompts, and of the one more.
        weights = dice.standard_gamma(copies, (size, count))
        extra = dice.standard_exponential(size)
        means[:, start : start + size] = (values @ weights.T + extra * ends) / (weights.sum(axis=1) + extra)
    found: Floats = np.quantile(means, risk, axis=1)
    return found


def prompts_needed(values: Sequence[float], bar: float, risk: float, seed: int, within: Range = SCORES) -> int | None:
    """About how many prompts like these it takes for the lower bound to pass `bar`; None where no number would."""
    data = np.asarray(values, dtype=np.float64)
    if data.mean() <= bar:
        return None

    def passes(copies: float) -> bool:
        return bool(lower_bounds(data[None, :], risk, seed, within.low, copies)[0] >= bar)

    fewest, most = 0.0, 1.0
    while not passes(most):
        fewest, most = most, 2 * most
        if most > MOST_COPIES:
            return None
    while most - fewest > 0.02 * most:
        middle = (fewest + most) / 2
        fewest, most = (fewest, middle) if passes(middle) else (middle, most)
    return math.ceil(most * len(data))


def least_prompts(best: float, bar: float, risk: float, within: Range = SCORES) -> int:
    """The fewest prompts at which the lower bound can pass `bar` if each of them gets `best`, a score above it.

    With n prompts alike the extra one's weight is Beta(1, n), so the bound is low + (best - low) risk^(1/n).
    """
    return math.ceil(math.log(risk) / math.log((bar - within.low) / (best - within.low))) if bar > within.low else 1
