"""JSON values in a model's output, however they are dressed: fenced, in prose, single-quoted, or cut off."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

MAX_CHARS = 200_000
"""Characters that are read of one output."""

MAX_BRACKETS = 200
MAX_STEPS = 1_000_000
"""Brackets to try in one output, and characters to scan between them: else brackets alone take quadratic time."""

MAX_DEPTH = 8
"""How deep an object that was cut off may be nested."""

ONE_OBJECT = re.compile(r"\s*(?:```\w*\s*)?(?={)")
MARK = re.compile(r"""["'\\{}\[\]]""")
TOKEN = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|[{}\[\],"])""", re.DOTALL)
OPENING = re.compile(r"[{\[]")


class ParsingError(ValueError):
    """The output lacks what was requested; the message is a clause that may be told to the model and to people."""


def json_values(text: str) -> tuple[list[Any], list[str]]:
    """Every outermost JSON object or array in the first MAX_CHARS characters, and the texts before, between and after
    them."""
    text = text[:MAX_CHARS]
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
            closing = closing_bracket(text, start)
            steps += (closing or len(text)) - start
            value = _python_literal(text[start:closing]) if closing else None
            end = closing if value is not None and closing else start + 1
        position = end
        if isinstance(value, dict | list) and value != {}:
            values.append(value)
            around.append(text[read:start])
            read = end
    return values, [*around, text[read:]]


def decoded_end(text: str, start: int) -> int | None:
    """The index after the JSON value that begins at `start`; None where there is none."""
    try:
        return DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def closing_bracket(text: str, start: int) -> int | None:
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


def completed_object(text: str) -> Any:
    """An output that is one JSON object without an end, up to its last comma; None for any other output."""
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
