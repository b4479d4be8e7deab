"""Read what a model wrote where JSON was asked for: certain meanings are recovered, nothing is guessed."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_REPLY = 1_000_000
THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
OPENING = re.compile(r"[{\[]")
MAX_TRIES = 200
"""Brackets to try in one reply; without a bound, a reply of brackets alone would take quadratic time."""
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
    """The scores in a judge's reply; raises ReplyError where one is missing, unclear or out of range."""
    found: dict[str, tuple[float, str]] = {}
    for value in _objects(text):
        for name in ("similarity", "precision"):
            assessment = _find(value, name)
            if assessment is not None and name not in found:
                found[name] = assessment
    missing = [name for name in ("similarity", "precision") if name not in found]
    if missing:
        raise ReplyError(f"no score for {' and '.join(missing)} in a JSON object")
    return Scores(found["similarity"][0], found["precision"][0], found["similarity"][1], found["precision"][1])


def pairs(text: str) -> list[dict[str, str]]:
    """The (instruction, response) objects in a writer's reply; raises ReplyError where there is no list of them.

    Members that lack either text are left out; an empty list is a valid answer.
    """
    empty = False
    for value in _objects(text):
        contents = value.get("contents", next(iter(value.values()), None)) if isinstance(value, dict) else value
        if isinstance(contents, dict):
            contents = [contents]
        if not isinstance(contents, list):
            continue
        found = [pair for pair in map(_pair, contents) if pair]
        if found:
            return found
        empty = empty or not contents
    if empty:
        return []
    raise ReplyError('no JSON object of the form {"contents": [{"instruction": "...", "response": "..."}]}')


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


def _objects(text: str) -> Iterator[Any]:
    """Every outermost JSON object or array in a reply, after any thinking."""
    text = THINKING.sub("", text[:MAX_REPLY])
    text = text.rsplit("</think>", 1)[-1]
    decoder = json.JSONDecoder(strict=False)
    position, tries = 0, 0
    while (match := OPENING.search(text, position)) and tries < MAX_TRIES:
        tries += 1
        start = match.start()
        try:
            value, position = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            end = _closing(text, start)
            value = _python_literal(text[start:end]) if end else None
            position = end if value is not None and end else start + 1
        if isinstance(value, dict | list) and value != {}:
            yield value


def _closing(text: str, start: int) -> int | None:
    """Behind the bracket that closes the one at `start`, strings aside."""
    depth, quote, escaped = 0, "", False
    for index in range(start, len(text)):
        char = text[index]
        if quote:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if depth == 0:
                return index + 1
    return None


def _python_literal(text: str) -> Any:
    """Single-quoted "JSON", as models like to write it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _find(value: Any, name: str, depth: int = 0) -> tuple[float, str] | None:
    """The score called `name` (or `name_...`) in a nested object, with its reason."""
    if not isinstance(value, dict) or depth > 4:
        return None
    for key, inner in value.items():
        if not str(key).casefold().startswith(name) or "reason" in str(key).casefold():
            continue
        if isinstance(inner, dict):
            score = next((v for k, v in inner.items() if "score" in str(k).casefold()), None)
            return _score(score, name), str(inner.get("reason", inner.get("explanation", "")))
        return _score(inner, name), str(value.get(f"{name}_reason", ""))
    for inner in value.values():
        found = _find(inner, name, depth + 1)
        if found is not None:
            return found
    return None


def _score(value: Any, name: str) -> float:
    if isinstance(value, str):
        match = SCORE.fullmatch(value)
        value = float(match[1]) if match else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ReplyError(f"the {name} score {str(value)[:40]!r} is no number from 1 to 100")
    if not 1 <= value <= 100:
        raise ReplyError(f"the {name} score {value} is not from 1 to 100")
    return float(value)
