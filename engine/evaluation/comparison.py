"""Two models on the same prompts: what differs from prompt to prompt, which takes the prompts' difficulty out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

from engine.evaluation.intervals import DIFFERENCES, Interval, intervals
from engine.evaluation.scores import MOST_UNREADABLE
from engine.protocol.decision import PromptScore

MARGIN = 10.0
"""Points of a prompt's mean score that count as a change, at least: less is of no matter to who reads the answers."""

SURE = 3.3
"""Standard errors that a change has, at least, so that one prompt in 1,000 is listed for the judge's wavering alone. A
sampled answer that came out differently is listed: it is a different answer."""


@dataclass(frozen=True, slots=True)
class Change:
    """One prompt's mean of both scores, before and after."""

    id: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Changes:
    """A round against an earlier one, `against`: the mean differences, and the prompts that moved, the most first."""

    against: int
    precision: Interval
    similarity: Interval
    improved: tuple[Change, ...]
    regressed: tuple[Change, ...]
    prompts: int


@dataclass(frozen=True, slots=True)
class Teacher:
    """The service on the prompts, asked anew; gaps are local model minus service, over the `prompts` of both."""

    precision: Interval
    similarity: Interval
    gap_precision: Interval
    gap_similarity: Interval
    prompts: int

    def doubt(self, prompts: int) -> str:
        """Why the gaps can't stand for all the `prompts` of the local model; "" where they can."""
        if self.prompts >= (1 - MOST_UNREADABLE) * prompts:
            return ""
        return f"the service has a readable verdict on {self.prompts} of {prompts} prompts only"


Both = list[tuple[PromptScore, PromptScore]]


def changes(
    against: int, before: Sequence[PromptScore], after: Sequence[PromptScore], risk: float, seed: int
) -> Changes | None:
    """What changed from one round to a later one; None where they share no prompt."""
    both = on_both(before, after)
    if not both:
        return None
    moved = [
        Change(old.id, round(old.mean, 2), round(new.mean, 2))
        for old, new in both
        if abs(new.mean - old.mean) > max(MARGIN, SURE * hypot(old.error, new.error))
    ]
    moved.sort(key=lambda change: (-abs(change.after - change.before), change.id))
    precision, similarity = intervals(_differences(both), risk, seed, DIFFERENCES)
    return Changes(
        against,
        precision,
        similarity,
        tuple(change for change in moved if change.after > change.before),
        tuple(change for change in moved if change.after < change.before),
        len(both),
    )


def gaps(
    teacher: Sequence[PromptScore], local: Sequence[PromptScore], risk: float, seed: int, unjudged: int = 0
) -> Teacher | None:
    """The local model beside the service; None where they share no prompt.

    The bounds of the gaps hold whatever the local model would get on its `unjudged` prompts.
    """
    both = on_both(teacher, local)
    if not both:
        return None
    service = [[asked.precision for asked, _ in both], [asked.similarity for asked, _ in both]]
    precision, similarity = intervals(service, risk, seed)
    gap_precision, gap_similarity = intervals(_differences(both), risk, seed, DIFFERENCES, unjudged)
    return Teacher(precision, similarity, gap_precision, gap_similarity, len(both))


def _differences(both: Both) -> list[list[float]]:
    """Precision and similarity of the second beyond the first, prompt by prompt."""
    return [
        [new.precision - old.precision for old, new in both],
        [new.similarity - old.similarity for old, new in both],
    ]


def on_both(first: Sequence[PromptScore], second: Sequence[PromptScore]) -> Both:
    """The scores of the prompts that both have, in the order of the second."""
    known = {score.id: score for score in first}
    return [(known[score.id], score) for score in second if score.id in known]


def changes_from_row(row: dict[str, Any] | None) -> Changes | None:
    """The changes in a decision.json."""
    if row is None:
        return None
    return Changes(
        row["against"],
        Interval(**row["precision"]),
        Interval(**row["similarity"]),
        tuple(Change(**change) for change in row["improved"]),
        tuple(Change(**change) for change in row["regressed"]),
        row["prompts"],
    )


def teacher_from_row(row: dict[str, Any] | None) -> Teacher | None:
    """The service's scores in a decision.json."""
    if row is None:
        return None
    return Teacher(
        Interval(**row["precision"]),
        Interval(**row["similarity"]),
        Interval(**row["gap_precision"]),
        Interval(**row["gap_similarity"]),
        row["prompts"],
    )
