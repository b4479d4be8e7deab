"""A judge's scores from its reply.

A judged response may contain a verdict too, and judges quote: where more than one verdict could be meant, or a part of
one lies outside what can be read, none is taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from engine.service.json_reading import MAX_CHARS, MAX_DEPTH, ParsingError, completed_object, json_values
from engine.service.thoughts import without_thoughts

NAMES = ("similarity", "precision")

MENTION = re.compile(
    r"""["'“{,]\s*(?:similarity|precision)[\w -]{0,30}\\?["'”]?\s*:|"""
    r"""["'”]\s*:\s*\\?["'“](?:similarity|precision)[\w -]{0,30}\\?["'”]""",
    re.IGNORECASE,
)
"""A key or a criterion of a verdict."""

CRITERION = {"criterion", "criteria", "metric", "name", "dimension", "aspect", "category", "type"}
"""Keys that say what an object's score is about, where a judge writes a list."""

REASON = re.compile(r"reason|explanation|rationale|justification|comment", re.IGNORECASE)
MAXIMUM = re.compile(r"max|scale|out[ _]?of", re.IGNORECASE)
MINIMUM = re.compile(r"min", re.IGNORECASE)
VALUES = {"value", "rating", "points"}
"""Keys of a score that no key with "score" in it holds."""

NUMBER = re.compile(r"\d+(?:\.\d+)?")
SCORE = re.compile(
    r"(?:score\s?[:=]\s?)?(\d{1,3}(?:\.\d+)?)\s?"
    r"(?:(?:points? )?(?:/|out of)\s?100(?:\s?points?|\s?分)?|%|points?|pts|分|点|점)?"
    r"(?:\s?[(（][^\W\d][^\d()（）]*[)）]|\s?[-–—:,;]\s[^\W\d][^\d]*|\.)?",
    re.IGNORECASE,
)
"""A score in words: "85", "85/100", "85 points", "85分", each with a remark that holds no other number."""

UNSURE = re.compile(r"\b(?:of|out|or|rather|scale|max\w*|minus|plus|percentile)\b", re.IGNORECASE)
"""Words of a remark that may change the number before it."""

WRAPPINGS = {"assessment", "evaluation", "result", "verdict"}
"""Keys under which a criterion's object may hold its score and reason."""

MAX_SCORE_CHARS = 100
SHOWN_CHARS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeScores:
    """A judge's scores from 1 to 100, with its reasons."""

    similarity: float
    precision: float
    similarity_reason: str
    precision_reason: str


def parse_scores(text: str) -> JudgeScores:
    """A judge's scores; raises ParsingError where one is missing, unclear, contradicted or out of range."""
    by_name = _assessments(text, *NAMES)
    similarity, similarity_reason = by_name["similarity"]
    precision, precision_reason = by_name["precision"]
    return JudgeScores(
        similarity=similarity,
        precision=precision,
        similarity_reason=similarity_reason,
        precision_reason=precision_reason,
    )


def parse_precision(text: str) -> float:
    """A judge's one score of a pair; raises ParsingError likewise."""
    return _assessments(text, "precision")["precision"][0]


def _assessments(text: str, *names: str) -> dict[str, tuple[float, str]]:
    """The scores by name, each with its reason."""
    text = without_thoughts(text)
    if not text.strip():
        raise ParsingError("the reply is empty")
    if len(text) > MAX_CHARS:
        raise ParsingError(f"the reply is longer than {MAX_CHARS:,} characters")
    values, around = json_values(text)
    if MENTION.search("".join(around)):
        values = [completed_object(text)]
        if values == [None]:
            raise ParsingError("the JSON is broken, or there is text around it that looks like a verdict")
    by_name: dict[str, tuple[float, str]] = {}
    for name in names:
        for assessment in _scores_named(name, values):
            if by_name.setdefault(name, assessment)[0] != assessment[0]:
                raise ParsingError(f"there is more than one {name} score")
    missing = [name for name in names if name not in by_name]
    if missing:
        raise ParsingError(f"no score for {' and '.join(missing)} in a JSON object")
    return by_name


def _scores_named(name: str, value: Any, depth: int = 0) -> Iterator[tuple[float, str]]:
    """Every score called `name` (or `name_...`) in a nested value, with its reason."""
    if depth > MAX_DEPTH:
        raise ParsingError("the JSON is nested too deeply")
    if isinstance(value, list):
        for inner in value:
            yield from _scores_named(name, inner, depth + 1)
    if not isinstance(value, dict):
        return
    if _is_about(name, value):
        yield from _assessment(name, value)
    for key, inner in value.items():
        bound = not REASON.search(key) and _is_bound(key, inner, name)
        if not key.strip().casefold().startswith(name):
            yield from _scores_named(name, inner, depth + 1)
        elif REASON.search(key) or bound:
            continue
        elif isinstance(inner, dict):
            yield from _assessment(name, inner)
        else:
            reasons = (v for k, v in value.items() if k.strip().casefold().startswith(name) and REASON.search(k))
            yield _score(inner, name), _text(reasons)


def _is_about(name: str, value: dict[str, Any]) -> bool:
    """Whether an object says in a member that its score is the one called `name`, and no other."""
    criteria = [v.casefold() for k, v in value.items() if k.strip().casefold() in CRITERION and isinstance(v, str)]
    about = [known for known in NAMES if any(known in criterion for criterion in criteria)]
    return about == [name] and any(criterion.strip().startswith(name) for criterion in criteria)


def _assessment(name: str, value: dict[str, Any]) -> Iterator[tuple[float, str]]:
    """The scores of an object that holds only one criterion's, with their reason."""
    inner = [v for k, v in value.items() if k.strip().casefold() in WRAPPINGS and isinstance(v, dict)]
    scores = _scores_in(value, name)
    if len(inner) == 1 and not scores:
        yield from _assessment(name, inner[0])
        return
    reason = _text(v for k, v in value.items() if REASON.search(k))
    for score in scores or [None]:
        yield _score(score, name), reason


def _scores_in(value: dict[str, Any], name: str) -> list[Any]:
    """The members of one criterion's object that are its score; more than one where that is unclear."""
    members = [(k.strip().casefold(), v) for k, v in value.items() if not REASON.search(k)]
    members = [(k, v) for k, v in members if not _is_bound(k, v, name)]
    return (
        [v for k, v in members if "score" in k]
        or [v for k, v in members if k in VALUES]
        or [v for k, v in members if k.startswith(name)]
    )


def _is_bound(key: str, value: Any, name: str) -> bool:
    """Whether a member tells the scale of a score; raises ParsingError where that is another than was requested.

    Scores out of 10 or 5 aren't converted: a judge that didn't take the requested scale didn't take its bands either.
    """
    if MAXIMUM.search(key) and not isinstance(value, dict | list):
        numbers = [float(number) for number in NUMBER.findall(str(value)[:SHOWN_CHARS])]
        if numbers and max(numbers) != 100:
            raise ParsingError(f"the {name} score is on another scale than 1 to 100: {_shown(value)}")
        return True
    return bool(MINIMUM.search(key)) and value in (0, 1)


def _text(candidates: Iterable[Any]) -> str:
    return next((text for text in candidates if isinstance(text, str)), "")


def _score(value: Any, name: str) -> float:
    """A score from 1 to 100; a 0, the worst of a judge with a scale from 0 in mind, is a 1."""
    number = _number(value, name)
    if number is None:
        raise ParsingError(f"the {name} score is not a number from 1 to 100: {_shown(value)}")
    if number == 0:
        return 1.0
    if not 1 <= number <= 100:
        raise ParsingError(f"the {name} score is not from 1 to 100: {_shown(value)}")
    return float(number)


def _number(value: Any, name: str, depth: int = 0) -> float | None:
    """The one number that a score can mean."""
    if depth > MAX_DEPTH or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return _spoken_number(value)
    if isinstance(value, list):
        return _number(value[0], name, depth + 1) if len(value) == 1 else None
    if isinstance(value, dict):
        scores = _scores_in(value, name)
        return _number(scores[0], name, depth + 1) if len(scores) == 1 else None
    return None


def _spoken_number(text: str) -> float | None:
    if len(text) > MAX_SCORE_CHARS:
        return None
    text = " ".join(text.replace("*", "").split())
    match = SCORE.fullmatch(text)
    remark = text.casefold().replace("out of 100", "")
    return float(match[1]) if match and not UNSURE.search(remark) else None


def _shown(value: Any) -> str:
    """A value for a message: in ASCII, on one line, and short."""
    try:
        shown = json.dumps(value)
    except (ValueError, RecursionError):
        shown = type(value).__name__
    return shown if len(shown) <= SHOWN_CHARS else f"{shown[:SHOWN_CHARS]}..."
