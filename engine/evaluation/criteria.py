"""What a model has to show to take over: each aim is a mean whose lower bound must pass a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.evaluation.comparison import Teacher, on_both
from engine.evaluation.intervals import DIFFERENCES, SCORES, Interval, Range, least_prompts, prompts_needed
from engine.evaluation.scores import Scores
from engine.protocol.decision import PromptScore
from engine.settings.schema import Target


@dataclass(frozen=True, slots=True)
class Aim:
    """One mean over `prompts` against its bar; `values` is what it is the mean of, empty where only that is known.

    The `unjudged` prompts beside them have the worst value there. `service` is what the service gets, where the bar is
    relative to it; `best` what a perfect model would get.
    """

    name: str
    found: Interval
    bar: float
    values: tuple[float, ...]
    within: Range
    best: float
    prompts: int
    unjudged: int
    service: float | None = None

    @property
    def passed(self) -> bool:
        return self.found.low >= self.bar

    @property
    def above(self) -> bool:
        return self.found.mean >= self.bar

    def needed(self, risk: float, seed: int) -> int | None:
        """About how many prompts would tell: for scores like these, or for a perfect model where these are short."""
        if self.above:
            return prompts_needed(self.values, self.bar, risk, seed, self.within) if self.values else None
        return self.least(risk)

    def least(self, risk: float) -> int | None:
        """The fewest prompts at which a perfect model passes; None where it does not with any number."""
        return least_prompts(self.best, self.bar, risk, self.within) if self.best > self.bar else None

    def standing(self, sure: str) -> str:
        """Where the mean is, as a manager would say it, when the aim is not passed."""
        prompts = "1 prompt" if self.prompts == 1 else f"{self.prompts} prompts"
        if self.unjudged:
            prompts += f", and {self.unjudged} more that no judge could score,"
        if self.service is not None:
            beside = f"{self.name.capitalize()} is {_beside(self.found.mean)} the service's {self.service:.1f}"
            if not self.above:
                return f"{beside}, where {-self.bar:g} points below are allowed"
            return (
                f"{beside}, but with {prompts} it may be {_beside(self.found.low)}, where "
                f"{-self.bar:g} points below are allowed, so we are not {sure}"
            )
        beside = f"{self.name.capitalize()} {self.found.mean:.1f} is"
        if not self.above:
            return f"{beside} short of the target of {self.bar:g}"
        return (
            f"{beside} above the target of {self.bar:g}, but with {prompts} it may be as low as "
            f"{self.found.low:.1f}, so we are not {sure}"
        )


def aims(
    scores: Scores, target: Target, teacher: Sequence[PromptScore] | None, beside: Teacher | None
) -> tuple[Aim, Aim]:
    """Both aims of a target: absolute, or relative to the service. Raises ValueError where its scores are missing."""
    if target.relative_to_teacher is None:

        def absolute(name: str, found: Interval, bar: float, points: list[float]) -> Aim:
            values = (*points, *[SCORES.low] * scores.unjudged)
            return Aim(name, found, bar, values, SCORES, SCORES.high, scores.prompts, scores.unjudged)

        rows = scores.by_prompt
        return (
            absolute("precision", scores.precision, target.precision, [row.precision for row in rows]),
            absolute("similarity", scores.similarity, target.similarity, [row.similarity for row in rows]),
        )
    if teacher is None or beside is None:
        raise ValueError("a target relative to the service needs the service's own scores")
    both = on_both(teacher, scores.by_prompt)
    bar = -target.relative_to_teacher

    def relative(name: str, gap: Interval, service: Interval, pairs: list[tuple[float, float]]) -> Aim:
        values = (*(model - asked for asked, model in pairs), *[DIFFERENCES.low] * scores.unjudged)
        best = SCORES.high - float(np.mean([asked for asked, _ in pairs]))
        return Aim(name, gap, bar, values, DIFFERENCES, best, len(both), scores.unjudged, service.mean)

    return (
        relative("precision", beside.gap_precision, beside.precision, [(s.precision, m.precision) for s, m in both]),
        relative(
            "similarity", beside.gap_similarity, beside.similarity, [(s.similarity, m.similarity) for s, m in both]
        ),
    )


def out_of_reach(found: Sequence[Aim], risk: float) -> bool:
    """Whether not even a perfect model could pass with so few prompts."""
    return any((least := aim.least(risk)) is None or least > aim.prompts for aim in found if not aim.passed)


def ceiling(teacher: Teacher, target: Target) -> str:
    """What the service gets itself, where the target leans on that or asks for more; "" where it does neither."""
    got = f"precision {teacher.precision.mean:.1f} and similarity {teacher.similarity.mean:.1f}"
    said = f"the service itself gets {got} against its own earlier answers"
    if target.relative_to_teacher is not None:
        return said
    beyond = teacher.precision.mean < target.precision or teacher.similarity.mean < target.similarity
    return f"{said}, which is short of the target too" if beyond else ""


def passing(found: tuple[Aim, Aim]) -> str:
    """Both aims passed, in words."""
    precision, similarity = found
    if precision.service is not None:
        return (
            f"Precision is {_beside(precision.found.mean)} the service's and similarity "
            f"{_beside(similarity.found.mean)}, where {-precision.bar:g} points below are allowed"
        )
    return (
        f"Precision {precision.found.mean:.1f} and similarity {similarity.found.mean:.1f} "
        f"pass their targets of {precision.bar:g} and {similarity.bar:g}"
    )


def _beside(gap: float) -> str:
    return f"{abs(gap):.1f} points {'below' if gap < 0 else 'above'}"
