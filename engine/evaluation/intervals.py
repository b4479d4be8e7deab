"""Confidence intervals for a mean over independent units: families of prompts, of which each counts once.

A family is one conversation, or prompts that are nearly the same: what a model gets on one of them tells what it gets
on the others, so that forty prompts of eight conversations are eight pieces of evidence. The mean of each family is one
number, and the bounds are Gaffke's for these numbers (`engine.evaluation.gaffke`), which keep their error rate however
alike the prompts of a family are. A design effect, which would need fewer prompts, does not: with eight families it
cannot be estimated (`bench/verdict.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.gaffke import Sample
from engine.protocol.decision import Interval

Floats = NDArray[np.float64]


class Range(NamedTuple):
    """The lowest and the highest that one prompt can get."""

    low: float
    high: float


SCORES = Range(1.0, 100.0)
DIFFERENCES = Range(-99.0, 99.0)


def unit_means(values: Sequence[float], families: Sequence[str]) -> Floats:
    """The mean of each family, in the order of their names; shapes (prompts,) to (families,)."""
    _, places, sizes = np.unique(np.asarray(families), return_inverse=True, return_counts=True)
    means: Floats = np.bincount(places, weights=np.asarray(values, dtype=np.float64)) / sizes
    return means


def interval(worst: Floats, best: Floats, risk: float, within: Range = SCORES) -> Interval:
    """The mean of `worst`, one number a unit, with bounds that the true mean passes with a chance of `risk`, each.

    `worst` counts what is missing as the lowest that it can be, `best` as the highest: the bounds hold whatever it is
    (Manski, American Economic Review 80, 1990). Bounds are rounded outwards.
    """
    low = Sample(worst, *within).lower_bound(risk)
    high = -Sample(-best, -within.high, -within.low).lower_bound(risk)
    return outwards(float(worst.mean()), low, high)


def outwards(mean: float, low: float, high: float) -> Interval:
    """An interval to two digits, its bounds rounded outwards."""
    mean = round(mean, 2)
    return Interval(
        mean=mean, low=min(math.floor(low * 100) / 100, mean), high=max(math.ceil(high * 100 - 1e-9) / 100, mean)
    )


def least_units(best: float, bar: float, risk: float, within: Range = SCORES) -> int:
    """The fewest units at which the lower bound can pass `bar` if each of them gets `best`, a score above it.

    Of n equal scores the bound is low + (best - low) risk^(1/n).
    """
    return math.ceil(math.log(risk) / math.log((bar - within.low) / (best - within.low))) if bar > within.low else 1
