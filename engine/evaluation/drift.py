"""Judge drift: whether a judge still scores the same answers alike, or its scores have shifted since round 0.

Each answer is its own control: only the difference between its two verdicts counts, a paired comparison. At temperature
0 judges mostly repeat themselves, and where they don't, they move by a step of about 5 points. So the variance of some
20 differences is often far too small by luck, even 0, and a plain t-test takes two or three steps that happen to agree
for a shift. The test here is the moderated t-test (Smyth, Statistical Applications in Genetics and Molecular Biology 3,
2004, section 4): the variance is shrunk towards one known beforehand, STEP², which counts as much as one difference.
Where the sample's own is larger, it is taken as it is (Student's t-test): shrinking would promise too much.

    variance = (sum of squares + STEP²) / n,   bounds = mean ± t(1 - RISK / 4, n) * sqrt(variance / n)

It is RISK / 4, as each of two scores may shift either way (Bonferroni). A shift is reported where the bounds of a score
exclude 0 and its mean is at least LEAST_SHIFT points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import sqrt
from statistics import fmean

from scipy.special import stdtrit  # type: ignore[import-untyped]

from engine.evaluation.intervals import DIFFERENCES
from engine.protocol.decision import Drift, Interval
from engine.protocol.rows import SecondVerdict

RISK = 0.01
"""How often a judge that scores as before is reported to have shifted, at most, for each judge and round."""

LEAST_SHIFT = 1.0
"""Points below which a shift is of no consequence, however sure it is."""

STEP = 5.0
"""Points by which a judge's verdict moves where it moves at all: the standard deviation known beforehand."""


def drifts(seconds: Iterable[SecondVerdict]) -> tuple[Drift, ...]:
    """The drift of each judge, in order of their names; answers without a readable second verdict are only counted."""
    ordered = sorted(seconds, key=lambda second: second.first.judge)
    return tuple(drift(judge, list(several)) for judge, several in groupby(ordered, lambda second: second.first.judge))


def drift(judge: str, seconds: Sequence[SecondVerdict]) -> Drift:
    """The drift of one judge, from its two verdicts on each answer."""
    moves = [move for second in seconds if (move := _move(second)) is not None]
    precision, similarity = map(difference, zip(*moves, strict=True)) if moves else (None, None)
    return Drift(
        judge=judge,
        answers=len(moves),
        missing=len(seconds) - len(moves),
        precision=precision,
        similarity=similarity,
        shifted=any(beyond_noise(one) for one in (precision, similarity) if one is not None),
    )


def _move(second: SecondVerdict) -> tuple[float, float] | None:
    """By how much precision and similarity have moved; None where a verdict is missing."""
    old, new = second.first, second.again
    if old.precision is None or old.similarity is None or new.precision is None or new.similarity is None:
        return None
    return new.precision - old.precision, new.similarity - old.similarity


def difference(points: Sequence[float], tail: float = RISK / 4) -> Interval:
    """The mean of at least one difference, with its bounds as above, each passed with a chance of `tail`."""
    count, mean = len(points), fmean(points)
    squares, freedom = sum((one - mean) ** 2 for one in points), count - 1
    if squares < freedom * STEP**2 or not freedom:
        squares, freedom = squares + STEP**2, count
    error = sqrt(squares / freedom / count)
    reach = min(DIFFERENCES.high, float(stdtrit(freedom, 1 - tail)) * error)
    return Interval(mean=round(mean, 2), low=round(mean - reach, 2), high=round(mean + reach, 2))


def beyond_noise(shift: Interval) -> bool:
    """Whether a mean difference is a shift that is neither noise nor too small to matter."""
    return abs(shift.mean) >= LEAST_SHIFT and not shift.low <= 0 <= shift.high
