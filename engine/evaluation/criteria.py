"""What a model has to show to take over: each criterion is a mean whose lower bound must pass a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.evaluation.comparison import gap_values
from engine.evaluation.intervals import DIFFERENCES, SCORES, Floats, Range, least_units, unit_means
from engine.evaluation.power import needed
from engine.evaluation.scores import SplitScores
from engine.protocol.decision import Interval, PromptScore, Teacher
from engine.protocol.points import points
from engine.settings.schema import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One mean against its threshold; `values` are those of the independent units, empty where they are unknown.

    `evidence` says what it rests on, in words. `service` is the service's own mean where the threshold is relative to
    it; `best` what a perfect model would get.
    """

    name: str
    interval: Interval
    threshold: float
    values: Floats
    within: Range
    best: float
    units: int
    evidence: str
    service: float | None = None

    @property
    def passed(self) -> bool:
        return self.interval.low >= self.threshold

    @property
    def above(self) -> bool:
        return self.interval.mean >= self.threshold

    def needed(self, risk: float, power: float) -> int | None:
        """About how many units like these pass with a chance of `power`; None where the mean is short of the threshold,
        or no number would do."""
        return needed(self.values.tolist(), self.threshold, risk, self.within, power) if len(self.values) else None

    def least(self, risk: float) -> int | None:
        """The fewest units at which a perfect model passes; None where it does not with any number."""
        return least_units(self.best, self.threshold, risk, self.within) if self.best > self.threshold else None

    def standing(self) -> str:
        """Where the mean is, in words, where the criterion is not passed."""
        if self.service is not None:
            position = (
                f"{self.name.capitalize()} is {_from_service(self.interval.mean)} the service's {self.service:.1f}"
            )
            if not self.above:
                return f"{position}, and the target is at most {points(-self.threshold)} below"
            return (
                f"{position}, but with {self.evidence} it may be {_from_service(self.interval.low)}, and "
                f"the target is at most {points(-self.threshold)} below"
            )
        position = f"{self.name.capitalize()} {self.interval.mean:.1f} is"
        if not self.above:
            return f"{position} short of the target of {self.threshold:g}"
        return (
            f"{position} above the target of {self.threshold:g}, but with {self.evidence} it may be as low as "
            f"{self.interval.low:.1f}"
        )


def criteria(
    scores: SplitScores, target: Target, by_service: Sequence[PromptScore] | None, teacher: Teacher | None
) -> tuple[Criterion, Criterion]:
    """Both criteria of a target: absolute, or relative to the service. Raises ValueError without its scores."""
    families = [row.unit for row in scores.by_prompt]
    if target.relative_to_teacher is None:

        def absolute(name: str, interval: Interval, threshold: float, points: list[float]) -> Criterion:
            return Criterion(
                name=name,
                interval=interval,
                threshold=threshold,
                values=unit_means(points, families),
                within=SCORES,
                best=SCORES.high,
                units=scores.units,
                evidence=scores.evidence,
            )

        rows = scores.by_prompt
        return (
            absolute("precision", scores.precision, target.precision, [row.precision for row in rows]),
            absolute("similarity", scores.similarity, target.similarity, [row.similarity for row in rows]),
        )
    if by_service is None or teacher is None:
        raise ValueError("a target relative to the service needs the service's own scores")
    threshold = -target.relative_to_teacher

    def relative(name: str, gap: Interval, service: Interval, points: list[float]) -> Criterion:
        return Criterion(
            name=name,
            interval=gap,
            threshold=threshold,
            values=unit_means(points, families),
            within=DIFFERENCES,
            best=SCORES.high - service.mean,
            units=scores.units,
            evidence=scores.evidence,
            service=service.mean,
        )

    precision, similarity = gap_values(by_service, scores.by_prompt)
    return (
        relative("precision", teacher.gap_precision, teacher.precision, precision),
        relative("similarity", teacher.gap_similarity, teacher.similarity, similarity),
    )


def out_of_reach(criteria: Sequence[Criterion], risk: float) -> bool:
    """Whether not even a perfect model could pass with so few units."""
    return any(
        (least := criterion.least(risk)) is None or least > criterion.units
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
            f"{_from_service(similarity.interval.mean)}, and the target is at most {points(-precision.threshold)} below"
        )
    return (
        f"Precision {precision.interval.mean:.1f} and similarity {similarity.interval.mean:.1f} "
        f"pass their targets of {precision.threshold:g} and {similarity.threshold:g}"
    )


def _from_service(gap: float) -> str:
    return f"{abs(gap):.1f} points {'below' if gap < 0 else 'above'}"
