"""Two models on the same prompts: what differs from prompt to prompt, which takes the prompts' difficulty out."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from engine.evaluation.intervals import DIFFERENCES, intervals
from engine.evaluation.scores import MOST_UNREADABLE
from engine.protocol.decision import Change, Changes, PromptScore, Teacher

MARGIN = 10.0
"""Points of a prompt's mean score that count as a change, at least: a reader would not notice less."""

SURE = 3.3
"""Standard errors that a change has, at least, so that one prompt in 1,000 is listed for the judge's noise alone. A
sampled response that came out differently is listed: it is a different response."""


Both = list[tuple[PromptScore, PromptScore]]


def changes(
    against: int, before: Sequence[PromptScore], after: Sequence[PromptScore], risk: float, seed: int
) -> Changes | None:
    """What changed from one round to a later one; None where they share no prompt."""
    both = on_both(before, after)
    if not both:
        return None
    moved = [
        Change(id=old.id, before=round(old.mean, 2), after=round(new.mean, 2))
        for old, new in both
        if abs(new.mean - old.mean) > max(MARGIN, SURE * hypot(old.error, new.error))
    ]
    moved.sort(key=lambda change: (-abs(change.after - change.before), change.id))
    precision, similarity = intervals(_differences(both), risk, seed, DIFFERENCES)
    return Changes(
        against=against,
        precision=precision,
        similarity=similarity,
        improved=tuple(change for change in moved if change.after > change.before),
        regressed=tuple(change for change in moved if change.after < change.before),
        prompts=len(both),
    )


def gaps(
    teacher: Sequence[PromptScore], local: Sequence[PromptScore], risk: float, seed: int, unjudged: int = 0
) -> Teacher | None:
    """The local model against the service; None where they share no prompt.

    The bounds of the gaps hold whatever the local model would get on its `unjudged` prompts.
    """
    both = on_both(teacher, local)
    if not both:
        return None
    service = [[theirs.precision for theirs, _ in both], [theirs.similarity for theirs, _ in both]]
    precision, similarity = intervals(service, risk, seed)
    gap_precision, gap_similarity = intervals(_differences(both), risk, seed, DIFFERENCES, unjudged)
    return Teacher(
        precision=precision,
        similarity=similarity,
        gap_precision=gap_precision,
        gap_similarity=gap_similarity,
        prompts=len(both),
    )


def teacher_doubt(teacher: Teacher, prompts: int) -> str:
    """Why the gaps can't stand for all the `prompts` of the local model; "" where they can."""
    if teacher.prompts >= (1 - MOST_UNREADABLE) * prompts:
        return ""
    return f"the service has a readable verdict on only {teacher.prompts} of {prompts} prompts"


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
