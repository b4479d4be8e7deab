"""Two models on the same prompts: what differs from prompt to prompt, which takes the prompts' difficulty out."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from engine.evaluation.intervals import DIFFERENCES, SCORES, interval, unit_means
from engine.evaluation.scores import MOST_UNREADABLE
from engine.protocol.decision import Change, Changes, PromptScore, Teacher

MARGIN = 10.0
"""Points of a prompt's mean score that count as a change, at least: a reader would not notice less."""

SURE = 3.3
"""Standard errors that a change has, at least, so that one prompt in 1,000 is listed for the judge's noise alone, where
that is alike on all prompts. A sampled response that came out differently is listed: it is a different response."""


Both = list[tuple[PromptScore, PromptScore]]


def changes(against: int, before: Sequence[PromptScore], after: Sequence[PromptScore], risk: float) -> Changes | None:
    """What changed from one round to a later one, on prompts with all verdicts in the earlier; None where there are
    none.

    What is missing in the later one counts as the worst.
    """
    both = [(old, new) for old, new in on_both(before, after) if not old.missing]
    if not both:
        return None
    moved = [
        Change(id=old.id, before=round(old.mean, 2), after=round(new.mean, 2))
        for old, new in both
        if abs(new.mean - old.mean) > max(MARGIN, SURE * hypot(old.error, new.error))
    ]
    surely_worse = sum(
        old.mean - new.mean > max(MARGIN, SURE * hypot(*(max(one.error, one.error_redrawn) for one in (old, new))))
        for old, new in both
    )
    moved.sort(key=lambda change: (-abs(change.after - change.before), change.id))
    families = [new.unit for _, new in both]
    precision = unit_means([new.precision - old.precision for old, new in both], families)
    similarity = unit_means([new.similarity - old.similarity for old, new in both], families)
    return Changes(
        against=against,
        precision=interval(precision, precision, risk, DIFFERENCES),
        similarity=interval(similarity, similarity, risk, DIFFERENCES),
        improved=tuple(change for change in moved if change.after > change.before),
        regressed=tuple(change for change in moved if change.after < change.before),
        prompts=len(both),
        surely_worse=surely_worse,
    )


def gaps(service: Sequence[PromptScore], local: Sequence[PromptScore], risk: float) -> Teacher | None:
    """The local model against the service, over all prompts of the local model; None without a verdict on both.

    What is missing counts against the local model: its own as the worst, the service's as the best.
    """
    both = _beside(service, local)
    judged = [(theirs, ours) for theirs, ours in both if theirs.missing < 1]
    if not judged:
        return None
    known = [ours.unit for _, ours in judged]
    families = [ours.unit for _, ours in both]
    precision = unit_means([theirs.precision for theirs, _ in judged], known)
    similarity = unit_means([theirs.similarity for theirs, _ in judged], known)
    return Teacher(
        precision=interval(precision, precision, risk),
        similarity=interval(similarity, similarity, risk),
        gap_precision=interval(
            unit_means([ours.precision - theirs.best_precision for theirs, ours in both], families),
            unit_means([ours.best_precision - theirs.precision for theirs, ours in both], families),
            risk,
            DIFFERENCES,
        ),
        gap_similarity=interval(
            unit_means([ours.similarity - theirs.best_similarity for theirs, ours in both], families),
            unit_means([ours.best_similarity - theirs.similarity for theirs, ours in both], families),
            risk,
            DIFFERENCES,
        ),
        prompts=len(judged),
    )


def _beside(service: Sequence[PromptScore], local: Sequence[PromptScore]) -> Both:
    """Each prompt of the local model with the service's score, which is wholly missing where there is none."""
    known = {score.id: score for score in service}
    nothing = PromptScore(id="", precision=SCORES.low, similarity=SCORES.low, missing=1.0)
    return [(known.get(score.id, nothing), score) for score in local]


def gap_values(service: Sequence[PromptScore], local: Sequence[PromptScore]) -> tuple[list[float], list[float]]:
    """Precision and similarity of the local model minus the service's, what is missing being the worst."""
    both = _beside(service, local)
    return (
        [ours.precision - theirs.best_precision for theirs, ours in both],
        [ours.similarity - theirs.best_similarity for theirs, ours in both],
    )


def teacher_doubt(teacher: Teacher, prompts: int) -> str:
    """Why the gaps can't stand for all the `prompts` of the local model; "" where they can."""
    if teacher.prompts >= (1 - MOST_UNREADABLE) * prompts:
        return ""
    return f"the service has a readable verdict on only {teacher.prompts} of {prompts} prompts"


def on_both(first: Sequence[PromptScore], second: Sequence[PromptScore]) -> Both:
    """The scores of the prompts that both have, in the order of the second."""
    known = {score.id: score for score in first}
    return [(known[score.id], score) for score in second if score.id in known]
