"""What people say: how far they agree with the judge, and the scores that they give themselves. Pure functions.

The corrected means rest on people's scores alone, of answers drawn at random (`engine.evaluation.drawn`), with bounds
that need no shape of the scores (`engine.evaluation.gaffke`). Leaning on the judge's scores of all prompts, corrected
by person minus judge, would not help: that difference has twice the range, so that with valid bounds the interval of 30
reviews is wider, however good the judge is (`bench/reviews.py`).

A person who agrees gives the judge's number: the corrected means are anchored to it as far as people are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from engine.evaluation.drawn import progress
from engine.evaluation.intervals import SCORES, interval
from engine.protocol.commands import Label, ResponseKey
from engine.protocol.decision import DrawnAnswer, Flags, Interval, Reviews, Scores
from engine.protocol.rows import CONTRACT, Verdict

BANDS = 5
"""Bands of 20 points: people tell those apart, and not 83 from 86."""

LEAST_REVIEWS = 10
"""Reviewed responses below which nothing is said of the agreement: kappa of fewer is chance."""

LOW_KAPPA = 0.6
"""Agreement below "substantial" (Landis & Koch, Biometrics 33, 1977)."""

FAR = 5.0
"""Points between judge and person, on average, from which a low kappa is a warning. Where nearly all scores are alike,
a few small differences make kappa low (Feinstein & Cicchetti, J. Clin. Epidemiol. 43, 1990); and no mean is further off
than this."""


class Judged(NamedTuple):
    """A response's mean scores over judges and repeats; `contract` where none was asked, as it breaks the contract."""

    precision: float
    similarity: float
    contract: bool = False


def judged(round_: int | None, verdicts: Iterable[Verdict]) -> dict[ResponseKey, Judged]:
    """What the judges said of each response of a round, over their readable verdicts; each judge counts alike."""
    found: dict[ResponseKey, dict[str, list[Judged]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        if not verdict.pilot and verdict.precision is not None and verdict.similarity is not None:
            said = Judged(verdict.precision, verdict.similarity, verdict.judge == CONTRACT)
            found[round_, verdict.id, verdict.sample][verdict.judge].append(said)
    return {key: _mean([_mean(repeats) for repeats in judges.values()]) for key, judges in found.items()}


def flagged(labels: Mapping[ResponseKey, Label]) -> tuple[str, ...]:
    """The prompts whose reference response somebody flagged as bad, in any round."""
    return tuple(sorted({prompt for (_, prompt, _), label in labels.items() if label.flagged}))


def flags(
    labels: Mapping[ResponseKey, Label], flagged: Collection[str], with_flagged: Scores, scored_at: float
) -> Flags | None:
    """How many prompts are `flagged`, and the scores that would be if they counted; None where none is.

    `scored_at` is when the first scores could be seen, as `Label.time`. A flag whose label changed later counts as
    later: which scores its author knew is not recorded.
    """
    if not flagged:
        return None
    first: dict[str, float] = {}
    for (_, prompt, _), label in labels.items():
        if label.flagged and prompt in flagged:
            first[prompt] = min(label.time, first.get(prompt, label.time))
    return Flags(
        count=len(flagged),
        after_scores=sum(when >= scored_at for when in first.values()),
        precision_with=with_flagged.precision,
        similarity_with=with_flagged.similarity,
    )


def reviews(
    labels: Mapping[ResponseKey, Label],
    judge: Mapping[ResponseKey, Judged],
    round_: int | None,
    risk: float,
    drawn: Sequence[DrawnAnswer] = (),
    without: Collection[str] = (),
) -> Reviews | None:
    """Reviews of the responses in `judge` against its scores, except of the prompts `without`; None for no review.

    The corrected means are those of `round_`, from people's scores of the answers `drawn` in it and from no other
    review, with bounds at `risk`, each. They count flagged prompts, too, so that nothing seen of an answer decides
    whether it counts.
    """
    given = {
        key: label
        for key, label in labels.items()
        if key in judge and key[1] not in without and (label.agrees is not None or label.precision is not None)
    }
    heard = [_heard((round_, answer.id, answer.sample), labels, judge) for answer in drawn]
    done = progress([said is not None for said in heard])
    if not given and not done.reviewed:
        return None
    people = {key: said for key, label in given.items() if (said := _said(label, judge[key])) is not None}
    opinions = [label.agrees for key, label in given.items() if not judge[key].contract]
    compared = [key for key in people if not judge[key].contract]
    pairs = [[(judge[key][part], people[key][part]) for key in compared] for part in (0, 1)]
    kappas = [_kappa(both) for both in pairs]
    complete = [said for said in heard if said is not None] if heard and not done.left else []
    return Reviews(
        n=len(opinions),
        agreed=opinions.count(True),
        scored=len(compared),
        kappa_precision=kappas[0],
        kappa_similarity=kappas[1],
        warning=_warning(opinions, pairs),
        precision=corrected([said.precision for said in complete], risk) if complete else None,
        similarity=corrected([said.similarity for said in complete], risk) if complete else None,
        drawn=done.drawn,
        drawn_reviewed=done.reviewed,
        drawn_skipped=done.skipped,
        risk=round(risk, 6),
    )


def corrected(people: Sequence[float], risk: float) -> Interval:
    """The mean of people's scores of answers that were drawn at random, with bounds at `risk`, each, rounded outwards.

    Raises ValueError for a score outside of 1 to 100.
    """
    scores = np.asarray(people, dtype=np.float64)
    return interval(scores, scores, risk)


def _warning(opinions: Sequence[bool | None], pairs: Sequence[list[tuple[float, float]]]) -> str:
    far = [both for both in pairs if both and fmean(abs(judge - person) for judge, person in both) >= FAR]
    low = min((value for both in far if (value := _kappa(both)) is not None), default=1.0)
    if low < LOW_KAPPA:
        return f"judge and reviewers agree too little (kappa {low:.2f} over {len(far[0])} reviews)"
    against = opinions.count(False)
    if len(opinions) >= LEAST_REVIEWS and 2 * against > len(opinions):
        return f"reviewers disagree with the judge on {against} of {len(opinions)} responses"
    return ""


def _kappa(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < LEAST_REVIEWS:
        return None
    return kappa([judge for judge, _ in pairs], [person for _, person in pairs])


def kappa(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Cohen's kappa of two raters' scores, 1 to 100, in bands with quadratic weights (Cohen, Psych. Bull. 70, 1968).

    1 is full agreement, 0 that of chance; None where chance alone agrees fully, all scores being in one band.
    """
    ours, theirs = [_band(score) for score in first], [_band(score) for score in second]
    observed = fmean((a - b) ** 2 for a, b in zip(ours, theirs, strict=True))
    by_chance = fmean((a - b) ** 2 for a in ours for b in theirs)
    return None if by_chance == 0 else round(1 - observed / by_chance, 4)


def _heard(key: ResponseKey, labels: Mapping[ResponseKey, Label], judge: Mapping[ResponseKey, Judged]) -> Judged | None:
    """A person's scores of an answer; None where nobody gave any, or agreed where no verdict is readable."""
    label = labels.get(key)
    return None if label is None else _said(label, judge.get(key))


def _said(label: Label, judge: Judged | None) -> Judged | None:
    """A person's scores: their own, or the judge's where they agree; None for a disagreement without a number."""
    agreed = judge if label.agrees else None
    precision = label.precision if label.precision is not None else agreed.precision if agreed else None
    similarity = label.similarity if label.similarity is not None else agreed.similarity if agreed else None
    return None if precision is None or similarity is None else Judged(precision, similarity)


def _band(score: float) -> int:
    width = (SCORES.high - SCORES.low) / BANDS
    return min(BANDS - 1, int((score - SCORES.low) / width))


def _mean(several: Sequence[Judged]) -> Judged:
    contract = all(one.contract for one in several)
    return Judged(fmean(one.precision for one in several), fmean(one.similarity for one in several), contract)
