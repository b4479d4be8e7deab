"""Read what a model wrote where JSON was asked for: certain meanings are recovered, nothing is guessed."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

MAX_REPLY = 200_000
"""Characters that are read of one reply."""

MAX_TRIES = 200
MAX_STEPS = 1_000_000
"""Brackets to try in one reply, and characters to look at between them: else brackets alone take quadratic time."""

MAX_DEPTH = 8
"""Objects in objects that a score is looked for in."""

THINKING_STARTS = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)
THOUGHTS = re.compile(r"\A(?:\s*<think(?:ing)?>.*?</think(?:ing)?>)*", re.IGNORECASE | re.DOTALL)
ONE_OBJECT = re.compile(r"\s*(?:```\w*\s*)?(?={)")
MARK = re.compile(r"""["'\\{}\[\]]""")
TOKEN = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|[{}\[\],"])""", re.DOTALL)
OPENING = re.compile(r"[{\[]")
MENTION = re.compile(r"""["'“{,]\s*(?:similarity|precision)[\w -]{0,30}\\?["'”]?\s*:""", re.IGNORECASE)
"""A key of a verdict."""

REASON = re.compile(r"reason|explanation|rationale|justification|comment", re.IGNORECASE)
SCORE = re.compile(r"\s*(\d{1,3}(?:\.\d+)?)\s*(?:(?:/|out\s+of)\s*100|%|points?)?\s*", re.IGNORECASE)


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
    """The scores by name. A response under judgement may hold a verdict of its own, and judges quote: wherever more
    than one verdict could be meant, or a part of one lies outside what can be read, none is taken."""
    _not_empty(text)
    if len(text) > MAX_REPLY:
        raise ReplyError("it is too long")
    values, around = _read(text)
    if MENTION.search(around):
        values = [_cut_off(text)]
        if values == [None]:
            raise ReplyError("its JSON is broken")
    found: dict[str, tuple[float, str]] = {}
    for name in names:
        for assessment in _found(values, name):
            if found.setdefault(name, assessment)[0] != assessment[0]:
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
    for value in _read(text)[0]:
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


def _read(text: str) -> tuple[list[Any], str]:
    """Every outermost JSON object or array in a reply, after any thinking, and the text around them."""
    text = _answer(text[:MAX_REPLY])
    values: list[Any] = []
    around: list[str] = []
    position, read, steps = 0, 0, 0
    for _ in range(MAX_TRIES):
        match = OPENING.search(text, position)
        if match is None or steps > MAX_STEPS:
            break
        start = match.start()
        try:
            value, end = DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            closing = _closing(text, start)
            steps += (closing or len(text)) - start
            value = _python_literal(text[start:closing]) if closing else None
            end = closing if value is not None and closing else start + 1
        position = end
        if isinstance(value, dict | list) and value != {}:
            values.append(value)
            around.append(text[read:start])
            read = end
    return values, "".join([*around, text[read:]])


def _answer(text: str) -> str:
    """What follows the thinking that a reply begins with."""
    answer = THOUGHTS.sub("", text, count=1)
    return "" if THINKING_STARTS.match(answer) else answer


def _cut_off(text: str) -> Any:
    """What a reply that is one JSON object without an end holds up to its last comma; None for any other reply."""
    text = _answer(text)
    begins = ONE_OBJECT.match(text)
    closings, last = "", (0, "")
    for match in TOKEN.finditer(text, begins.end() if begins else len(text)):
        if match[0] in "{[":
            closings = ("}" if match[0] == "{" else "]") + closings
            if len(closings) > MAX_DEPTH:
                return None
        elif match[0] in "}]":
            closings = closings[1:]
            if not closings:
                return None
        elif match[0] == ",":
            last = (match.start(), closings)
        elif match[0] == '"':  # a text without an end
            break
    try:
        return DECODER.decode(text[begins.end() : last[0]] + last[1]) if begins else None
    except (ValueError, RecursionError):
        return None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless it says two things under one key."""
    found: dict[str, Any] = {}
    for key, value in members:
        if found.setdefault(key, value) != value:
            raise ValueError(f"{key!r} stands in it twice")
    return found


DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_object)


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
        with warnings.catch_warnings(action="ignore"):  # of what Python makes of a backslash
            tree = ast.parse(text, mode="eval")
        for node in ast.walk(tree):
            keys = [ast.dump(key) for key in node.keys if key] if isinstance(node, ast.Dict) else []
            if len(set(keys)) < len(keys):
                return None
        return json.loads(json.dumps(ast.literal_eval(tree)))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _found(value: Any, name: str, depth: int = 0) -> Iterator[tuple[float, str]]:
    """Every score called `name` (or `name_...`) in a nested value, with its reason."""
    if depth > MAX_DEPTH:
        raise ReplyError("it is nested too deeply")
    if isinstance(value, list):
        for inner in value:
            yield from _found(inner, name, depth + 1)
    for key, inner in value.items() if isinstance(value, dict) else ():
        if not key.casefold().startswith(name):
            yield from _found(inner, name, depth + 1)
        elif REASON.search(key):
            continue
        elif isinstance(inner, dict):
            scores = [v for k, v in inner.items() if "score" in k.casefold() and not REASON.search(k)]
            for score in scores or [None]:
                yield _score(score, name), _text(v for k, v in inner.items() if REASON.search(k))
        else:
            yield (
                _score(inner, name),
                _text(v for k, v in value.items() if k.casefold().startswith(name) and REASON.search(k)),
            )


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
