"""Which part of a task may move to the local model although the whole may not.

A rule lets the local model give the answers that it is sure of; the others are for the service. The dev prompts choose
the rule, and the sealed prompts test it, once. Two claims follow, which hold together except with a chance of `risk`:
the share of prompts that the rule moves, and the mean scores of what it moves. The share's bound takes a fifth of the
risk and the scores the rest (Bonferroni); precision and similarity share that, as both must pass (intersection-union).

The mean score of the moved answers is at least t exactly where the mean of (score - t) * moved, over all answers, is at
least 0. So Gaffke's exact bound (`engine.evaluation.gaffke`) for that mean tests it, and no ratio is estimated: answers
that do not move are 0 and take no part. The unit is the family of prompts; each counts once, with the mean of its
prompts, and a prompt with the mean of its answers. For families of one prompt with one answer the share's bound is that
of Clopper and Pearson.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor, log
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.optimize import brentq  # type: ignore[import-untyped]
from scipy.special import log_ndtr, ndtr  # type: ignore[import-untyped]

from engine.evaluation.answer_scores import UNJUDGED, by_answer
from engine.evaluation.confidence import broken_answers, confidences
from engine.evaluation.gaffke import Sample, lower_bound
from engine.evaluation.intervals import DIFFERENCES, SCORES, Range, outwards
from engine.protocol.decision import SIGNALS, Confidence, Interval, Part, Rule, Signal
from engine.protocol.points import points
from engine.protocol.rows import Response, Verdict
from engine.settings.schema import Target

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SHARE_OF_RISK = 0.2
"""Of the risk, for the claim about the share: a bound on a share loses little by it, the scores need more."""

MOST_THRESHOLDS = 40
"""That are tried for each signal, at even steps of the dev answers' ranks."""

LEAST_CHANCE = 0.1
"""Of a certificate; a rule with less is not worth a test."""

CAUTION = 1.5
"""Times the spread of a rule's result from dev to sealed: the best of many rules looks better on dev than it is. It
gave the largest shares in simulation (`bench/selective.py`), where 1 gave up to 4 % less."""

LEAST_SHARE = 0.01
"""That a certificate is given for: moving less is not worth it."""

NONE = "No part may move today:"
"""Begins the reason where nothing is certified."""

TOLERANCE = 1e-4
"""Of the root that a bound is, by which it is moved outwards."""

SCORE_NAMES = ("precision", "similarity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the local model with its scores, 1 to 100, where what is missing counts as the worst.

    `service` is the service's precision and similarity on the prompt, where what is missing counts as the best; None
    where it has none.
    """

    id: str
    family: str
    confidence: Confidence
    precision: float
    similarity: float
    service: tuple[float, float] | None = None


class Choice(NamedTuple):
    """The rule that the dev prompts suggest, the share that it moves there, and its chance of a certificate.

    `rule` is None where none is worth a test, and `reason` then says why.
    """

    rule: Rule | None
    share: float
    chance: float
    reason: str


def answers(
    responses: Sequence[Response],
    verdicts: Sequence[Verdict],
    families: Mapping[str, str],
    service: Mapping[str, tuple[float, float]] | None = None,
) -> list[Answer]:
    """All answers to a set of prompts; `families` names the family of a prompt, which else is its own.

    An answer without a verdict counts as the worst. `service` has the service's precision and similarity by prompt.
    """
    scores, sure = by_answer(verdicts), confidences(responses, broken_answers(verdicts))
    found = []
    for response in responses:
        key = response.id, response.sample
        score = scores.get(key, UNJUDGED)
        found.append(
            Answer(
                id=response.id,
                family=families.get(response.id) or response.id,
                confidence=sure[key],
                precision=score.precision,
                similarity=score.similarity,
                service=(service or {}).get(response.id),
            )
        )
    return found


def what_may_move(dev: Sequence[Answer], sealed: Sequence[Answer], target: Target, risk: float) -> Part:
    """The part that may move: its rule is chosen on dev, and tested once on the sealed answers.

    Raises ValueError without answers.
    """
    choice = choose(dev, target, risk, sealed_families=len({answer.family for answer in sealed}))
    if choice.rule is None:
        return _untested(sealed, target, risk, choice.reason)
    return certify(choice.rule, sealed, target, risk)


def choose(dev: Sequence[Answer], target: Target, risk: float, sealed_families: int) -> Choice:
    """The rule with the largest share that is likely to be certified on so many sealed families.

    Of all signals and thresholds it takes the one with the largest product of the share and the chance of a
    certificate. The chance is a normal estimate, as wide as two independent splits of these sizes make it: a wrong one
    may cost a certificate, and never makes a false one. Rules that move every dev answer are left out, since that is
    the whole task. Raises ValueError without answers.
    """
    data = _Data.of(dev, target)
    copies = sealed_families / len(data.starts)
    rules, moved = _candidates(data)
    if not rules:
        return Choice(None, 0.0, 0.0, f"{NONE} no dev answer keeps the contract.")
    shares = data.by_family(moved.astype(np.float64)).mean(axis=1)
    both = [
        _chances(data.by_family((points - bar) * moved), data.within.low - bar, copies, score_risk(risk))
        for points, bar in zip(data.points, data.bars, strict=True)
    ]
    chances = np.where(moved.all(axis=1), 0.0, np.min(both, axis=0))
    place = int(np.argmax(shares * chances))
    share, chance = float(shares[place]), float(chances[place])
    if chance >= LEAST_CHANCE:
        return Choice(rules[place], share, chance, "")
    reason = f"{NONE} on the dev prompts, the answers that the local model is surest of are not good enough either."
    return Choice(None, share, chance, reason)


def certify(rule: Rule, sealed: Sequence[Answer], target: Target, risk: float) -> Part:
    """The result of one test of a rule on the sealed answers. Raises ValueError without answers.

    Both claims together are false with a chance of at most `risk` if the families are independent and the rule was
    chosen without their answers, however that was done.
    """
    test = SealedTest(rule, sealed, target)
    share_low = test.share_bound(risk)
    certified = share_low >= LEAST_SHARE and test.passes(risk)
    scores = test.interval(0, risk), test.interval(1, risk)
    samples = Counter(answer.id for answer in sealed)
    return Part(
        rule=replace(rule, samples=max(samples.values())),
        share=round(test.share, 4),
        share_low=floor(share_low * 1e4) / 1e4,
        precision=scores[0],
        similarity=scores[1],
        relative=target.relative_to_teacher is not None,
        answers=len(sealed),
        moved=int(test.moved.sum()),
        prompts=len(samples),
        families=len(test.data.starts),
        risk=risk,
        certified=certified,
        reason=_certified(share_low, target, risk) if certified else _short(test, scores, risk),
    )


class SealedTest:
    """A rule on the sealed answers, with the bounds of both claims; score 0 is precision, score 1 similarity."""

    def __init__(self, rule: Rule, sealed: Sequence[Answer], target: Target) -> None:
        self.data = _Data.of(sealed, target)
        self.moved: Flags = self.data.signal(rule.signal) >= rule.threshold

    @property
    def share(self) -> float:
        """Of the answers, each family counting once."""
        return float(self.shares.mean())

    def share_bound(self, risk: float) -> float:
        """What the share is at least, for prompts like these."""
        return max(0.0, lower_bound(self.shares, SHARE_OF_RISK * risk, 0.0, 1.0))

    def passes(self, risk: float) -> bool:
        """Whether both mean scores of what moves pass their bars."""
        return all(
            self._p(self.data.points[k], self.data.within, self.data.bars[k]) <= score_risk(risk) for k in (0, 1)
        )

    def interval(self, k: int, risk: float) -> Interval | None:
        """The mean of what moves, with bounds that it passes with a chance of at most the scores' risk each."""
        if not self.moved.any():
            return None
        points = self.data.points[k]
        mean = float(self.data.by_family(points * self.moved).sum() / self.shares.sum())
        low = self._bound(points, self.data.within, risk)
        high = -self._bound(-points, Range(-self.data.within.high, -self.data.within.low), risk)
        return outwards(mean, low, high)

    @cached_property
    def shares(self) -> Floats:
        """Of each family's answers."""
        return self.data.by_family(self.moved.astype(np.float64))

    def _p(self, points: Floats, within: Range, bar: float) -> float:
        low, high = within.low - bar, within.high - bar
        return Sample(self.data.by_family((points - bar) * self.moved), low, high).p_value(0.0)

    def _bound(self, points: Floats, within: Range, risk: float) -> float:
        allowed = score_risk(risk)
        found = float(brentq(lambda bar: self._p(points, within, bar) - allowed, *within, xtol=TOLERANCE))
        return max(within.low, found - TOLERANCE)


def score_risk(risk: float) -> float:
    """What the share leaves of the risk to the scores."""
    return (1 - SHARE_OF_RISK) * risk


@dataclass(frozen=True, slots=True)
class _Data:
    """Answers as arrays, sorted by family, which begin at `starts`; within a family the `weights` add up to 1.

    `points` are the two scores, minus the service's where the target is relative to it; `bars` are what they must
    reach on average, and `within` what they can be.
    """

    confidences: list[Confidence]
    points: Floats
    bars: tuple[float, float]
    within: Range
    weights: Floats
    starts: NDArray[np.int64]
    keeps: Flags

    @classmethod
    def of(cls, answers: Sequence[Answer], target: Target) -> _Data:
        """The arrays of answers for a target. Raises ValueError where there are none."""
        if not answers:
            raise ValueError("no answers")
        order = sorted(answers, key=lambda answer: (answer.family, answer.id))
        points = np.array([[answer.precision for answer in order], [answer.similarity for answer in order]])
        margin, bars, within = target.relative_to_teacher, (target.precision, target.similarity), SCORES
        if margin is not None:
            best = (SCORES.high, SCORES.high)
            points = points - np.array([answer.service or best for answer in order]).T
            bars, within = (-margin, -margin), DIFFERENCES
        families = [answer.family for answer in order]
        starts = _starts(families)
        prompts = _starts([(answer.family, answer.id) for answer in order])
        by_prompt = np.diff(np.append(prompts, len(order)))
        by_family = np.diff(np.append(np.searchsorted(prompts, starts), len(prompts)))
        family_sizes = np.repeat(by_family, np.diff(np.append(starts, len(order))))
        return cls(
            confidences=[answer.confidence for answer in order],
            points=points,
            bars=bars,
            within=within,
            weights=1 / (np.repeat(by_prompt, by_prompt) * family_sizes),
            starts=starts,
            keeps=np.array([answer.confidence.keeps_contract for answer in order]),
        )

    def signal(self, signal: Signal) -> Floats:
        """The answers' values; NaN, which passes no threshold, where the contract is broken or the value unknown."""
        values = np.array([confidence.value(signal) for confidence in self.confidences], dtype=np.float64)
        return np.where(self.keeps, values, np.nan)

    def by_family(self, values: Floats) -> Floats:
        """The mean of each family, of values with the answers along the last axis."""
        sums: Floats = np.add.reduceat(values * self.weights, self.starts, axis=-1)
        return sums


def _starts(sorted_keys: Sequence[Any]) -> NDArray[np.int64]:
    """Where runs of equal keys begin."""
    return np.array([n for n, key in enumerate(sorted_keys) if n == 0 or key != sorted_keys[n - 1]], dtype=np.int64)


def _candidates(data: _Data) -> tuple[list[Rule], Flags]:
    """Rules with some of each signal's values as the threshold, and the answers that each of them moves."""
    rules: list[Rule] = []
    moved: list[Flags] = []
    for signal in SIGNALS:
        values = data.signal(signal)
        known = np.sort(values[~np.isnan(values)])
        places = np.linspace(0, max(0, len(known) - 1), min(len(known), MOST_THRESHOLDS)).round().astype(np.int64)
        for threshold in np.unique(known[places]).tolist():
            rules.append(Rule(signal=signal, threshold=threshold))
            moved.append(values >= threshold)
    return rules, np.array(moved)


def _chances(excess: Floats, low: float, copies: float, risk: float) -> Floats:
    """About the chance that Gaffke's p-value for a mean of 0 is at most `risk`, on `copies` times as many families.

    Each row of `excess`, shape (rules, families), has one; `low` is the lowest excess there can be. The sum is normal
    with the excess's moments, and it must outweigh the one family more that Gaffke's bound takes to be at `low`.
    """
    worst = max(-low, 1e-9)
    count, total = excess.shape[1], copies * excess.sum(axis=1)
    deviation = np.sqrt(copies * np.square(excess).sum(axis=1)) + 1e-9 * worst
    sampling = np.sqrt(np.maximum(deviation**2 - total**2 / (copies * count), 0.0) * (1 + copies))
    spread = CAUTION * sampling + 1e-9 * worst
    chances: Floats = ndtr((total - _least_sum(deviation, worst, risk)) / spread)
    return chances


def _least_sum(deviation: Floats, worst: float, risk: float) -> Floats:
    """The mean that a normal sum S of this deviation needs for P(S <= worst * g) = risk, where g is exponential."""
    scale = np.maximum(worst, 0.01 * deviation)
    low, high = np.zeros_like(deviation), 10 * deviation - log(risk) * scale + deviation**2 / scale
    for _ in range(20):
        mean = (low + high) / 2
        beyond = log_ndtr(mean / deviation - deviation / scale) - mean / scale + (deviation / scale) ** 2 / 2
        above = ndtr(-mean / deviation) + np.exp(beyond) > risk
        low, high = np.where(above, mean, low), np.where(above, high, mean)
    found: Floats = high
    return found


def _untested(sealed: Sequence[Answer], target: Target, risk: float, reason: str) -> Part:
    return Part(
        rule=None,
        share=0.0,
        share_low=0.0,
        precision=None,
        similarity=None,
        relative=target.relative_to_teacher is not None,
        answers=len(sealed),
        moved=0,
        prompts=len({answer.id for answer in sealed}),
        families=len({answer.family for answer in sealed}),
        risk=risk,
        certified=False,
        reason=reason,
    )


def _certified(share_low: float, target: Target, risk: float) -> str:
    margin = target.relative_to_teacher
    scores = "at least at the target" if margin is None else f"at most {points(margin)} below the service's"
    return (
        f"Of prompts like these at least {floor(100 * share_low)} % can be answered locally, with precision and "
        f"similarity {scores} (risk {100 * risk:g} %, both claims together); the rest is for the service."
    )


def _short(test: SealedTest, intervals: Sequence[Interval | None], risk: float) -> str:
    """Why the sealed answers don't pass."""
    if not test.moved.any():
        return f"{NONE} the rule found on the dev prompts moves no sealed answer."
    relative = test.data.within is DIFFERENCES
    for name, interval, bar in zip(SCORE_NAMES, intervals, test.data.bars, strict=True):
        if interval is None or interval.low >= bar:
            continue
        asked = f"the target is at most {points(-bar)} below the service's" if relative else f"the target is {bar:g}"
        found = f"{interval.mean:+.1f} points from the service's" if relative else f"{interval.mean:.1f}"
        lowest = f"{interval.low:+.1f}" if relative else f"{interval.low:.1f}"
        return (
            f"{NONE} the {100 * test.share:.0f} % of the sealed answers that the rule would move have a "
            f"{name} of {found}, which may be as low as {lowest} (risk {100 * score_risk(risk):g} %), where {asked}."
        )
    return f"{NONE} the rule found on the dev prompts moves too few of the sealed answers."
