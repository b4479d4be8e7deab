"""Two models on the same prompts: what differs from prompt to prompt, which takes the prompts' difficulty out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.intervals import DIFFERENCES, Interval, interval
from engine.verdict.scores import PromptScore

MARGIN = 10.0
"""Points of a prompt's mean score that count as a change. The judge stops repeating at a standard error of 2 points
(`engine.stages.judge.AGREEMENT`), so a difference that is its noise alone has one of 2.8: this is 3.5 of those, which
one prompt in 2,000 passes. A sampled answer that came out differently does pass: it is a different answer."""


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


Both = list[tuple[PromptScore, PromptScore]]


def changes(
    against: int, before: Sequence[PromptScore], after: Sequence[PromptScore], risk: float, seed: int
) -> Changes | None:
    """What changed from one round to a later one; None where they share no prompt."""
    both = on_both(before, after)
    if not both:
        return None
    moved = [Change(old.id, round(old.mean, 2), round(new.mean, 2)) for old, new in both]
    moved.sort(key=lambda change: (-abs(change.after - change.before), change.id))
    return Changes(
        against,
        interval([new.precision - old.precision for old, new in both], risk, seed, DIFFERENCES),
        interval([new.similarity - old.similarity for old, new in both], risk, seed, DIFFERENCES),
        tuple(change for change in moved if change.after - change.before > MARGIN),
        tuple(change for change in moved if change.before - change.after > MARGIN),
        len(both),
    )


def gaps(teacher: Sequence[PromptScore], local: Sequence[PromptScore], risk: float, seed: int) -> Teacher | None:
    """The local model beside the service; None where they share no prompt."""
    both = on_both(teacher, local)
    if not both:
        return None
    return Teacher(
        interval([service.precision for service, _ in both], risk, seed),
        interval([service.similarity for service, _ in both], risk, seed),
        interval([model.precision - service.precision for service, model in both], risk, seed, DIFFERENCES),
        interval([model.similarity - service.similarity for service, model in both], risk, seed, DIFFERENCES),
        len(both),
    )


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
