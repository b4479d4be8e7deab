"""What a model has to show to take over: each criterion is a mean whose lower bound must pass a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.evaluation.comparison import on_both
from engine.evaluation.intervals import DIFFERENCES, SCORES, Range, least_prompts, prompts_needed
from engine.evaluation.scores import SplitScores
from engine.protocol.decision import Interval, PromptScore, Teacher
from engine.settings.schema import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One mean over `prompts` against its threshold; `values` are the single values, empty where they are unknown.

    The `unjudged` prompts, which are more, have the worst value in `values`. `service` is the service's own mean where
    the threshold is relative to it; `best` what a perfect model would get.
    """

    name: str
    interval: Interval
    threshold: float
    values: tuple[float, ...]
    within: Range
    best: float
    prompts: int
    unjudged: int
    service: float | None = None

    @property
    def passed(self) -> bool:
        return self.interval.low >= self.threshold

    @property
    def above(self) -> bool:
        return self.interval.mean >= self.threshold

    def needed(self, risk: float, seed: int) -> int | None:
        """About how many prompts would tell: for scores like these, or for a perfect model where these are short."""
        if self.above:
            return prompts_needed(self.values, self.threshold, risk, seed, self.within) if self.values else None
        return self.least(risk)

    def least(self, risk: float) -> int | None:
        """The fewest prompts at which a perfect model passes; None where it does not with any number."""
        return least_prompts(self.best, self.threshold, risk, self.within) if self.best > self.threshold else None

    def standing(self, sure: str) -> str:
        """Where the mean is, in words, where the criterion is not passed."""
        prompts = "1 prompt" if self.prompts == 1 else f"{self.prompts} prompts"
        if self.unjudged:
            prompts += f", and {self.unjudged} more that no judge could score,"
        if self.service is not None:
            position = (
                f"{self.name.capitalize()} is {_from_service(self.interval.mean)} the service's {self.service:.1f}"
            )
            if not self.above:
                return f"{position}, where {-self.threshold:g} points below are allowed"
            return (
                f"{position}, but with {prompts} it may be {_from_service(self.interval.low)}, where "
                f"{-self.threshold:g} points below are allowed, so we are not {sure}"
            )
        position = f"{self.name.capitalize()} {self.interval.mean:.1f} is"
        if not self.above:
            return f"{position} short of the target of {self.threshold:g}"
        return (
            f"{position} above the target of {self.threshold:g}, but with {prompts} it may be as low as "
            f"{self.interval.low:.1f}, so we are not {sure}"
        )


def criteria(
    scores: SplitScores, target: Target, by_service: Sequence[PromptScore] | None, teacher: Teacher | None
) -> tuple[Criterion, Criterion]:
    """Both criteria of a target: absolute, or relative to the service. Raises ValueError without its scores."""
    if target.relative_to_teacher is None:

        def absolute(name: str, interval: Interval, threshold: float, points: list[float]) -> Criterion:
            values = (*points, *[SCORES.low] * scores.unjudged)
            return Criterion(
                name=name,
                interval=interval,
                threshold=threshold,
                values=values,
                within=SCORES,
                best=SCORES.high,
                prompts=scores.prompts,
                unjudged=scores.unjudged,
            )

        rows = scores.by_prompt
        return (
            absolute("precision", scores.precision, target.precision, [row.precision for row in rows]),
            absolute("similarity", scores.similarity, target.similarity, [row.similarity for row in rows]),
        )
    if by_service is None or teacher is None:
        raise ValueError("a target relative to the service needs the service's own scores")
    both = on_both(by_service, scores.by_prompt)
    threshold = -target.relative_to_teacher

    def relative(name: str, gap: Interval, service: Interval, pairs: list[tuple[float, float]]) -> Criterion:
        values = (*(model - theirs for theirs, model in pairs), *[DIFFERENCES.low] * scores.unjudged)
        best = SCORES.high - float(np.mean([theirs for theirs, _ in pairs]))
        return Criterion(
            name=name,
            interval=gap,
            threshold=threshold,
            values=values,
            within=DIFFERENCES,
            best=best,
            prompts=len(both),
            unjudged=scores.unjudged,
            service=service.mean,
        )

    return (
        relative("precision", teacher.gap_precision, teacher.precision, [(s.precision, m.precision) for s, m in both]),
        relative(
            "similarity", teacher.gap_similarity, teacher.similarity, [(s.similarity, m.similarity) for s, m in both]
        ),
    )


def out_of_reach(criteria: Sequence[Criterion], risk: float) -> bool:
    """Whether not even a perfect model could pass with so few prompts."""
    return any(
        (least := criterion.least(risk)) is None or least > criterion.prompts
        for criterion in criteria
        if not criterion.passed
    )


def ceiling(teacher: Teacher, target: Target) -> str:
    """The service's own scores, where the target is relative to them or asks for more; else ""."""
    got = f"precision {teacher.precision.mean:.1f} and similarity {teacher.similarity.mean:.1f}"
    ceiling = f"the service itself gets {got} against its own earlier responses"
    if target.relative_to_teacher is not None:
        return ceiling
    beyond = teacher.precision.mean < target.precision or teacher.similarity.mean < target.similarity
    return f"{ceiling}, which is short of the target too" if beyond else ""


def passing(both: tuple[Criterion, Criterion]) -> str:
    """Both criteria passed, in words."""
    precision, similarity = both
    if precision.service is not None:
        return (
            f"Precision is {_from_service(precision.interval.mean)} the service's and similarity "
            f"{_from_service(similarity.interval.mean)}, where {-precision.threshold:g} points below are allowed"
        )
    return (
        f"Precision {precision.interval.mean:.1f} and similarity {similarity.interval.mean:.1f} "
        f"pass their targets of {precision.threshold:g} and {similarity.threshold:g}"
    )


def _from_service(gap: float) -> str:
    return f"{abs(gap):.1f} points {'below' if gap < 0 else 'above'}"
