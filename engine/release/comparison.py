"""Served against judged: the paired differences of an artefact's answers and the adapter's, and whether they pass.

The differences are those of prompts, their mean within a family one number; an identical answer is a difference of 0.
The lower bound is the lower of two. That of `engine.evaluation.drift`, a moderated t-test, is for many small losses. It
promises too much where a few prompts lose a lot and most lose nothing: the mean of 56 is then far from normal. So where
there is a loss the other one is Gaffke's (`engine.evaluation.gaffke`), which asks for a range and no shape: down to the
worst loss seen, and at least to STEP, a judge's smallest move. Of equal losses it is the bound of Clopper and Pearson.

Both hold for losses like those seen. No comparison of 56 prompts excludes a failure rarer than one prompt in 19: the
bound of Clopper and Pearson on the share of identical answers says how rare. `bench/gate.py` measures both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from typing import NamedTuple

from msgspec.structs import replace

from engine.evaluation.drift import STEP, difference
from engine.evaluation.gaffke import Sample
from engine.evaluation.intervals import DIFFERENCES, Floats, Range, interval, unit_means
from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.scores import LEAST_UNITS
from engine.protocol.decision import WORST, Interval, PromptScore, evidence, percent
from engine.protocol.points import points
from engine.protocol.release import Difference
from engine.protocol.rows import Response, Verdict

SHOWN = 5
"""Differences that are kept, the worst first."""

CUT = 600
"""Characters of an answer that is kept."""


class Compared(NamedTuple):
    """The outcome; the fields are those of a `Gate`."""

    passed: bool
    reason: str
    families: int
    identical: int
    identical_low: float
    precision: Interval
    similarity: Interval
    differences: tuple[Difference, ...]


def compare(
    adapter: Sequence[Response],
    served: Mapping[str, str],
    verdicts: tuple[Sequence[Verdict], Sequence[Verdict]],
    families: Mapping[str, str],
    margin: float,
    risk: float,
) -> Compared:
    """Compare the adapter's answers, one a prompt, with the `served` ones by id.

    `verdicts` are the judges' on the answers that differ, the adapter's and the served: a missing one counts as the
    worst for the served answer and as the best for the adapter's.
    """
    before, after = ({score.id: score for score in by_prompt(rows)} for rows in verdicts)
    differing = [row.id for row in adapter if served[row.id] != row.response]
    gaps = {id_: _gap(before.get(id_), after.get(id_)) for id_ in differing}
    units = [families.get(row.id) or row.id for row in adapter]
    both = [gaps.get(row.id, (0.0, 0.0)) for row in adapter]
    precision, similarity = (bounded(unit_means(points, units), risk) for points in zip(*both, strict=True))
    same = unit_means([float(row.id not in gaps) for row in adapter], units)
    worse = f"{min(precision.mean, similarity.mean):+.1f}"
    low = min(precision.low, similarity.low)
    told = evidence(len(adapter), len(same))
    identical = len(adapter) - len(differing)
    if len(same) < LEAST_UNITS:
        passed, reason = False, f"{told} are too few to tell (at least {LEAST_UNITS} independent ones)."
    elif low < -margin:
        passed = False
        reason = (
            f"on {told} it is {worse} points against the adapter, and may be {-low:.1f} worse (risk {percent(risk)}); "
            f"the margin is {points(margin)}."
        )
    else:
        passed = True
        reason = (
            f"{identical:,} of {told} answered exactly like the adapter, and at most {max(0.0, -low):.1f} points worse "
            f"(risk {percent(risk)}, for losses like those seen); the margin is {points(margin)}."
        )
    return Compared(
        passed=passed,
        reason=reason,
        families=len(same),
        identical=identical,
        identical_low=round(interval(same, same, risk, Range(0.0, 1.0)).low, 4),
        precision=precision,
        similarity=similarity,
        differences=_shown(adapter, served, before, after, gaps),
    )


def bounded(points: Floats, risk: float) -> Interval:
    """The mean difference of families, and its bounds as above, each passed with a chance of `risk`."""
    found = difference(points.tolist(), risk)
    if points.min() >= 0:
        return found
    low = Sample(points, min(-STEP, float(points.min())), DIFFERENCES.high).lower_bound(risk)
    return replace(found, low=min(found.low, floor(low * 100) / 100))


def _gap(before: PromptScore | None, after: PromptScore | None) -> tuple[float, float]:
    nothing = PromptScore(id="", precision=WORST, similarity=WORST, missing=1.0)
    old, new = before or nothing, after or nothing
    return new.precision - old.best_precision, new.similarity - old.best_similarity


def _shown(
    adapter: Sequence[Response],
    served: Mapping[str, str],
    before: Mapping[str, PromptScore],
    after: Mapping[str, PromptScore],
    gaps: Mapping[str, tuple[float, float]],
) -> tuple[Difference, ...]:
    rows = sorted((row for row in adapter if row.id in gaps), key=lambda row: (sum(gaps[row.id]), row.id))
    return tuple(
        Difference(
            id=row.id,
            adapter=row.response[:CUT],
            served=served[row.id][:CUT],
            adapter_score=round(before[row.id].mean, 2) if row.id in before else None,
            served_score=round(after[row.id].mean, 2) if row.id in after else None,
        )
        for row in rows[:SHOWN]
    )
