"""A decision as it is shown: the scores of a round, what changed, and what the engine advises.

What another version wrote is read as far as it is understood; text in it is untrusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from engine.settings.schema import Target

LARGEST = 1e9
"""What is beyond is no score: infinities, what is no number, integers that no float holds."""


class Interval(NamedTuple):
    """A mean score, or a difference of scores, with its confidence interval in points."""

    mean: float
    low: float
    high: float


class Changes(NamedTuple):
    """A round against an earlier one, prompt by prompt: the mean differences, and the prompts that moved."""

    against: int
    precision: Interval
    similarity: Interval
    improved: tuple[str, ...]
    regressed: tuple[str, ...]


class Advice(NamedTuple):
    """What the engine would do, `approve`, `finish` or `stop`, and why."""

    action: str
    reason: str


class Group(NamedTuple):
    """A kind of prompt and how the round does on it."""

    name: str
    prompts: int
    precision: float
    similarity: float


class Teacher(NamedTuple):
    """How far the model is from the service on the same prompts: student minus teacher, in points."""

    gap_precision: Interval
    gap_similarity: Interval


class Reviews(NamedTuple):
    """How often people agreed with the judge, of `n` reviewed responses; `warning` where that is too seldom."""

    n: int
    agreed: int
    warning: str


class Score(NamedTuple):
    """The decision after a round; what only newer versions write is None or empty in older runs."""

    precision: Interval
    similarity: Interval
    reached: bool
    reason: str
    best_round: int | None
    changes: Changes | None = None
    advice: Advice | None = None
    more_prompts: int | None = None
    teacher: Teacher | None = None
    reviews: Reviews | None = None
    flagged: int = 0
    groups: tuple[Group, ...] = ()


def score(decision: dict[str, Any]) -> Score | None:
    """The scores of a decision; None for one of another form."""
    precision, similarity = interval(decision.get("precision")), interval(decision.get("similarity"))
    if precision is None or similarity is None:
        return None
    flagged = decision.get("flagged")
    return Score(
        precision=precision,
        similarity=similarity,
        reached=decision.get("reached") is True,
        reason=str(decision.get("reason", "")),
        best_round=_whole(decision.get("best_round")),
        changes=_changes(decision.get("changes")),
        advice=_advice(decision.get("advice")),
        more_prompts=_whole(decision.get("more_prompts")),
        teacher=_teacher(decision.get("teacher")),
        reviews=_reviews(decision.get("reviews")),
        flagged=len(flagged) if isinstance(flagged, list) else 0,
        groups=_groups(decision.get("groups")),
    )


def goals(target: Target | None) -> tuple[float | None, float | None]:
    """The precision and the similarity to reach; None where none is known, or where the service's own are the bar."""
    if target is None or target.relative_to_teacher is not None:
        return None, None
    return target.precision, target.similarity


def interval(value: Any) -> Interval | None:
    """The interval in an event; None for one of another form."""
    if not isinstance(value, dict):
        return None
    numbers = [_number(value.get(key)) for key in ("mean", "low", "high")]
    finite = [number for number in numbers if number is not None]
    return Interval(*finite) if len(finite) == len(numbers) else None


def _changes(value: Any) -> Changes | None:
    if not isinstance(value, dict):
        return None
    precision, similarity = interval(value.get("precision")), interval(value.get("similarity"))
    against = _whole(value.get("against"))
    if precision is None or similarity is None or against is None:
        return None
    return Changes(against, precision, similarity, _ids(value.get("improved")), _ids(value.get("regressed")))


def _ids(value: Any) -> tuple[str, ...]:
    rows = value if isinstance(value, list) else []
    return tuple(row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str))


def _advice(value: Any) -> Advice | None:
    if not isinstance(value, dict) or value.get("action") not in ("approve", "finish", "stop"):
        return None
    return Advice(value["action"], str(value.get("reason", "")))


def _teacher(value: Any) -> Teacher | None:
    if not isinstance(value, dict):
        return None
    precision, similarity = interval(value.get("gap_precision")), interval(value.get("gap_similarity"))
    return Teacher(precision, similarity) if precision is not None and similarity is not None else None


def _reviews(value: Any) -> Reviews | None:
    n, agreed = (_whole(value.get(key)) for key in ("n", "agreed")) if isinstance(value, dict) else (None, None)
    return Reviews(n, agreed, str(value.get("warning", ""))) if n and agreed is not None else None


def _groups(value: Any) -> tuple[Group, ...]:
    groups = []
    for row in value if isinstance(value, list) else []:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            continue
        precision, similarity = _mean(row.get("precision")), _mean(row.get("similarity"))
        prompts = _whole(row.get("prompts"))
        if prompts is not None and precision is not None and similarity is not None:
            groups.append(Group(row["name"], prompts, precision, similarity))
    return tuple(groups)


def _mean(value: Any) -> float | None:
    """A score that is a number, or an interval with a mean."""
    return _number(value.get("mean")) if isinstance(value, dict) else _number(value)


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
    return float(value) if known else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
