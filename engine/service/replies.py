"""Read what a model wrote where JSON was asked for: certain meanings are recovered, nothing is guessed."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

MAX_REPLY = 200_000
"""Characters that are read of one reply."""

MAX_TRIES = 200
MAX_STEPS = 1_000_000
"""Brackets to try in one reply, and characters to look at between them: else brackets alone take quadratic time."""

STARTS_WITH_JSON = re.compile(r"\s*(?:```\w*\s*)?[{\[]")
THINKING_STARTS = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)
THINKING_ENDS = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
MARK = re.compile(r"""["'\\{}\[\]]""")
OPENING = re.compile(r"[{\[]")
REASON = re.compile(r"reason|explanation|rationale|justification|comment", re.IGNORECASE)
SCORE = re.compile(r"\s*(\d{1,3}(?:\.\d+)?)\s*(?:/\s*100|%|points?)?\s*", re.IGNORECASE)


class ReplyError(ValueError):
    """The reply does not hold what was asked for; the message is fit to be shown to the model."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A judge's scores from 1 to 100, with its reasons."""

    similarity: float
    precision: float
    similarity_reason: str
    precision_reason: str


def scores(text: str) -> Scores:
    """The scores in a judge's reply; raises ReplyError where one is missing, unclear, contradicted or out of range."""
    found = _assessments(text, "similarity", "precision")
    return Scores(found["similarity"][0], found["precision"][0], found["similarity"][1], found["precision"][1])


def precision(text: str) -> float:
    """The one score in a judge's reply about a pair; raises ReplyError likewise."""
    return _assessments(text, "precision")["precision"][0]


def _assessments(text: str, *names: str) -> dict[str, tuple[float, str]]:
    _not_empty(text)
    found: dict[str, tuple[float, str]] = {}
    for value in _values(text):
        for name in names:
            assessment = _find(value, name)
            if assessment is not None and found.setdefault(name, assessment)[0] != assessment[0]:
                raise ReplyError(f"it holds more than one {name} score")
    missing = [name for name in names if name not in found]
    if missing:
        raise ReplyError(f"no score for {' and '.join(missing)} in a JSON object")
    return found


def pairs(text: str) -> list[dict[str, str]]:
    """The (instruction, response) objects in a writer's reply; raises ReplyError where there is no list of them.

    Members that lack either text are left out, those before a cut are kept; an empty list is a valid answer.
    """
    _not_empty(text)
    found: list[dict[str, str]] = []
    empty = False
    for value in _values(text):
        contents = _contents(value)
        empty = empty or contents == []
        found += [pair for pair in map(_pair, contents or ()) if pair]
    if found or empty:
        return found
    raise ReplyError('no JSON object of the form {"contents": [{"instruction": "...", "response": "..."}]}')


def _not_empty(text: str) -> None:
    if not text.strip():
        raise ReplyError("the reply is empty")


def _contents(value: Any) -> list[Any] | None:
    if isinstance(value, dict) and _pair(value):
        return [value]
    inner = value.get("contents", next(iter(value.values()), None)) if isinstance(value, dict) else value
    if isinstance(inner, dict):
        return [inner]
    return inner if isinstance(inner, list) else None


def _pair(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    instruction, response = value.get("instruction"), value.get("response")
    if isinstance(response, dict | list):
        response = json.dumps(response, ensure_ascii=False)
    if not isinstance(instruction, str) or not isinstance(response, str):
        return None
    if not instruction.strip() or not response.strip():
        return None
    return {"instruction": instruction.strip(), "response": response.strip()}


def _values(text: str) -> Iterator[Any]:
    """Every outermost JSON object or array in a reply, after any thinking."""
    text = _answer(text[:MAX_REPLY])
    decoder = json.JSONDecoder(strict=False)
    position, steps = 0, 0
    for _ in range(MAX_TRIES):
        match = OPENING.search(text, position)
        if match is None or steps > MAX_STEPS:
            return
        start = match.start()
        try:
            value, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = _closing(text, start)
            steps += (end or len(text)) - start
            value = _python_literal(text[start:end]) if end else None
            position = end if value is not None and end else start + 1
        if isinstance(value, dict | list) and value != {}:
            yield value


def _answer(text: str) -> str:
    """What follows the thinking; a reply that starts with its JSON may speak of <think>, but has none."""
    if STARTS_WITH_JSON.match(text):
        return text
    answer = THINKING_ENDS.split(text)[-1]
    return "" if THINKING_STARTS.match(answer) else answer


def _closing(text: str, start: int) -> int | None:
    """Behind the bracket that closes the one at `start`, strings aside."""
    depth, quote, escaped = 0, "", -1
    for match in MARK.finditer(text, start):
        char = match[0]
        if match.start() == escaped:
            continue
        if char == "\\":
            escaped = match.end()
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += 1 if char in "{[" else -1
            if depth == 0:
                return match.end()
    return None


def _python_literal(text: str) -> Any:
    """Single-quoted "JSON", as models like to write it; None for anything else."""
    try:
        return json.loads(json.dumps(ast.literal_eval(text)))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _find(value: Any, name: str, depth: int = 0) -> tuple[float, str] | None:
    """The score called `name` (or `name_...`) in a nested object, with its reason."""
    if not isinstance(value, dict) or depth > 4:
        return None
    for key, inner in value.items():
        if not key.casefold().startswith(name) or REASON.search(key):
            continue
        if isinstance(inner, dict):
            score = next((v for k, v in inner.items() if "score" in k.casefold()), None)
            return _score(score, name), _text(v for k, v in inner.items() if REASON.search(k))
        return _score(inner, name), _text(
            v for k, v in value.items() if k.casefold().startswith(name) and REASON.search(k)
        )
    for inner in value.values():
        found = _find(inner, name, depth + 1)
        if found is not None:
            return found
    return None


def _text(candidates: Iterable[Any]) -> str:
    return next((text for text in candidates if isinstance(text, str)), "")


def _score(value: Any, name: str) -> float:
    if isinstance(value, str):
        match = SCORE.fullmatch(value)
        value = float(match[1]) if match else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ReplyError(f"the {name} score is no number from 1 to 100")
    if not 1 <= value <= 100:
        raise ReplyError(f"the {name} score is not from 1 to 100")
    return float(value)
