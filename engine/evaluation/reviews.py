"""What people say of the judge: agreement with it, and means corrected by their scores. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import sqrt
from statistics import NormalDist, covariance, fmean, variance
from typing import NamedTuple

from engine.evaluation.intervals import SCORES
from engine.protocol.commands import Label, ResponseKey
from engine.protocol.decision import Interval, Reviews
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

LEAST_LABELS = 30
"""Prompts with scores by people for a corrected mean: its interval is that of the normal distribution, which the mean
of fewer skewed corrections does not have."""


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
    return tuple(sorted({label.prompt for label in labels.values() if label.flagged}))


def reviews(
    labels: Mapping[ResponseKey, Label],
    judge: Mapping[ResponseKey, Judged],
    round_: int | None,
    risk: float,
    without: Collection[str] = (),
) -> Reviews | None:
    """Reviews of the responses in `judge` against its scores, except of the prompts `without`; None for no review.

    The corrected means are those of `round_`, with bounds at `risk`, each; they take it that who reviewed did not pick
    prompts by their scores.
    """
    given = {
        key: label
        for key, label in labels.items()
        if key in judge and label.prompt not in without and (label.agrees is not None or label.precision is not None)
    }
    if not given:
        return None
    people = {key: said for key, label in given.items() if (said := _said(label, judge[key])) is not None}
    opinions = [label.agrees for key, label in given.items() if not judge[key].contract]
    compared = [key for key in people if not judge[key].contract]
    pairs = [[(judge[key][part], people[key][part]) for key in compared] for part in (0, 1)]
    kappas = [_kappa(both) for both in pairs]
    here = _prompt_means({key: scores for key, scores in judge.items() if key[0] == round_ and key[1] not in without})
    corrections = _by_prompt({key: said for key, said in people.items() if key[0] == round_}, judge)
    others = [scores for id_, scores in here.items() if id_ not in corrections]
    corrected = [
        estimate([(ours[part], theirs[part]) for ours, theirs in corrections.values()], [o[part] for o in others], risk)
        if len(corrections) >= LEAST_LABELS
        else None
        for part in (0, 1)
    ]
    return Reviews(
        n=len(opinions),
        agreed=opinions.count(True),
        scored=len(compared),
        kappa_precision=kappas[0],
        kappa_similarity=kappas[1],
        warning=_warning(opinions, pairs),
        prompts=len(corrections),
        precision=corrected[0],
        similarity=corrected[1],
    )


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


def estimate(reviewed: Sequence[tuple[float, float]], judged_only: Sequence[float], risk: float) -> Interval:
    """The mean that people would give, from (judge, person) on some prompts and the judge alone on the others.

    Prediction-powered inference (Angelopoulos et al., Science 382, 2023), tuned to lean on the judge only as far as
    that narrows the bounds (Angelopoulos, Duchi & Zrnic, arXiv 2311.01453): people's mean, plus `lean` times what the
    judge gave the others beyond these; with a judge who is of no use, or with no others, people's mean. Bounds at
    `risk`, each.
    """
    judge, people = [ours for ours, _ in reviewed], [theirs for _, theirs in reviewed]
    all_judged = variance([*judge, *judged_only])
    lean = 0.0
    if judged_only and all_judged:
        best = covariance(judge, people) / all_judged / (1 + len(reviewed) / len(judged_only))
        lean = min(max(best, 0.0), 1.0)
    beyond = [person - lean * ours for ours, person in reviewed]
    mean = fmean(beyond) + lean * fmean(judged_only or [0.0])
    spread = sqrt(variance(beyond) / len(reviewed) + lean**2 * all_judged / max(1, len(judged_only)))
    half = NormalDist().inv_cdf(1 - risk) * spread
    center, low, high = (round(min(max(x, SCORES.low), SCORES.high), 2) for x in (mean, mean - half, mean + half))
    return Interval(mean=center, low=low, high=high)


def _said(label: Label, judge: Judged) -> Judged | None:
    """A person's scores: their own, or the judge's where they agree; None for a disagreement without a number."""
    precision = label.precision if label.precision is not None else judge.precision if label.agrees else None
    similarity = label.similarity if label.similarity is not None else judge.similarity if label.agrees else None
    return None if precision is None or similarity is None else Judged(precision, similarity)


def _band(score: float) -> int:
    width = (SCORES.high - SCORES.low) / BANDS
    return min(BANDS - 1, int((score - SCORES.low) / width))


def _by_prompt(
    people: Mapping[ResponseKey, Judged], judge: Mapping[ResponseKey, Judged]
) -> dict[str, tuple[Judged, Judged]]:
    """Each reviewed prompt's means over its reviewed responses: the judge's, and people's."""
    ours, theirs = _prompt_means({key: judge[key] for key in people}), _prompt_means(people)
    return {id_: (ours[id_], theirs[id_]) for id_ in theirs}


def _prompt_means(scores: Mapping[ResponseKey, Judged]) -> dict[str, Judged]:
    found: dict[str, list[Judged]] = defaultdict(list)
    for (_, id_, _), one in scores.items():
        found[id_].append(one)
    return {id_: _mean(several) for id_, several in found.items()}


def _mean(several: Sequence[Judged]) -> Judged:
    contract = all(one.contract for one in several)
    return Judged(fmean(one.precision for one in several), fmean(one.similarity for one in several), contract)
