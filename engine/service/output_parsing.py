"""Parse the JSON in a model's output: unambiguous meanings are recovered, nothing is guessed."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from engine.service.completion import Schema

MAX_CHARS = 200_000
"""Characters that are read of one output."""

MAX_BRACKETS = 200
MAX_STEPS = 1_000_000
"""Brackets to try in one output, and characters to scan between them: else brackets alone take quadratic time."""

MAX_DEPTH = 8
"""How deep a score may be nested in objects."""

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


def _object_schema(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_ASSESSMENT = _object_schema(score={"type": "integer"}, reason={"type": "string"})
_PAIR = _object_schema(instruction={"type": "string"}, response={"type": "string"})

SCORES_SCHEMA = _object_schema(similarity_assessment=_ASSESSMENT, precision_assessment=_ASSESSMENT)
PRECISION_SCHEMA = _object_schema(precision_assessment=_ASSESSMENT)
PAIRS_SCHEMA = _object_schema(contents={"type": "array", "items": _PAIR})
"""What the prompts request, for services that support a schema; `parse_*` accept more."""


class ParsingError(ValueError):
    """The output lacks what was requested; the message may be shown to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeScores:
    """A judge's scores from 1 to 100, with its reasons."""

    similarity: float
    precision: float
    similarity_reason: str
    precision_reason: str


def parse_scores(text: str) -> JudgeScores:
    """A judge's scores; raises ParsingError where one is missing, unclear, contradicted or out of range."""
    by_name = _assessments(text, "similarity", "precision")
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
    """The scores by name, each with its reason. A judged response may contain a verdict too, and judges quote: where
    more than one verdict could be meant, or a part of one lies outside what can be read, none is taken."""
    _reject_empty(text)
    if len(text) > MAX_CHARS:
        raise ParsingError("the reply is too long")
    values, around = _read(text)
    if MENTION.search(around):
        values = [_completed_object(text)]
        if values == [None]:
            raise ParsingError("the JSON is broken")
    by_name: dict[str, tuple[float, str]] = {}
    for name in names:
        for assessment in _scores_named(name, values):
            if by_name.setdefault(name, assessment)[0] != assessment[0]:
                raise ParsingError(f"there is more than one {name} score")
    missing = [name for name in names if name not in by_name]
    if missing:
        raise ParsingError(f"no score for {' and '.join(missing)} in a JSON object")
    return by_name


def parse_pairs(text: str) -> list[dict[str, str]]:
    """The (instruction, response) objects that a writer made; raises ParsingError where there is no list of them.

    Members that lack either text are left out, those before a cut are kept; an empty list is valid.
    """
    _reject_empty(text)
    pairs: list[dict[str, str]] = []
    empty = False
    for value in _read(text)[0]:
        contents = _contents(value)
        empty = empty or contents == []
        pairs += [pair for pair in map(_pair, contents or ()) if pair]
    if pairs or empty:
        return pairs
    raise ParsingError('no JSON object of the form {"contents": [{"instruction": "...", "response": "..."}]}')


def _reject_empty(text: str) -> None:
    if not text.strip():
        raise ParsingError("the reply is empty")


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
    """Every outermost JSON object or array in an output, after any thinking, and the text around them."""
    text = _without_thinking(text[:MAX_CHARS])
    values: list[Any] = []
    around: list[str] = []
    position, read, steps = 0, 0, 0
    for _ in range(MAX_BRACKETS):
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


def _without_thinking(text: str) -> str:
    """The text after the thinking with which an output begins."""
    rest = THOUGHTS.sub("", text, count=1)
    return "" if THINKING_STARTS.match(rest) else rest


def _completed_object(text: str) -> Any:
    """An output that is one JSON object without an end, up to its last comma; None for any other output."""
    text = _without_thinking(text)
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
    """A JSON object, unless it has two values under one key."""
    values: dict[str, Any] = {}
    for key, value in members:
        if values.setdefault(key, value) != value:
            raise ValueError(f"{key!r} has two values")
    return values


DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_object)


def _closing(text: str, start: int) -> int | None:
    """The index after the bracket that closes the one at `start`; brackets in strings don't count."""
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
    """Single-quoted "JSON", which models often write; None for anything else."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about backslashes
            tree = ast.parse(text, mode="eval")
        for node in ast.walk(tree):
            keys = [ast.dump(key) for key in node.keys if key] if isinstance(node, ast.Dict) else []
            if len(set(keys)) < len(keys):
                return None
        return json.loads(json.dumps(ast.literal_eval(tree)))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _scores_named(name: str, value: Any, depth: int = 0) -> Iterator[tuple[float, str]]:
    """Every score called `name` (or `name_...`) in a nested value, with its reason."""
    if depth > MAX_DEPTH:
        raise ParsingError("the JSON is nested too deeply")
    if isinstance(value, list):
        for inner in value:
            yield from _scores_named(name, inner, depth + 1)
    for key, inner in value.items() if isinstance(value, dict) else ():
        if not key.casefold().startswith(name):
            yield from _scores_named(name, inner, depth + 1)
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
        raise ParsingError(f"the {name} score is not a number from 1 to 100")
    if not 1 <= value <= 100:
        raise ParsingError(f"the {name} score is not from 1 to 100")
    return float(value)
