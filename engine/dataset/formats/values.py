"""Values of a record before anybody knows what they mean: JSON in text, paths, and words for what is wrong."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from engine.dataset.record import Number, RowError, unreadable

MAX_DEPTH = 64
"""Levels of brackets in a text that is parsed as Python's own notation."""

_JSON = re.compile(r"\s*[\[{]")
_PYTHON = re.compile(r"\s*(?:\[\s*)?\{\s*'")
_ENCODED = re.compile(r'\s*"\s*[\[{]')
_BAD_TEXT = re.compile("[\x00\ud800-\udfff]")
_NOTHING = frozenset({"", "null", "none", "nan", "false", "0", "{}", "[]"})


def parsed(value: Any) -> Any:
    """The list or object that a text holds as JSON, or as Python prints it; any other value as it is."""
    if not isinstance(value, str):
        return value
    if not _JSON.match(value):
        return _encoded_twice(value) if _ENCODED.match(value) else value
    try:
        found = json.loads(value)
    except ValueError:
        return _printed(value) if _PYTHON.match(value) else value
    except RecursionError:
        return value
    return found


def _encoded_twice(text: str) -> Any:
    """The list or object in a JSON string of JSON; the text as it is where there is none."""
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        return text
    found = parsed(inner) if isinstance(inner, str) and _JSON.match(inner) else text
    return text if isinstance(found, str) else found


def _printed(text: str) -> Any:
    """What Python printed, as pandas writes lists into CSV cells."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\](){}]", text):
        depth += 1 if bracket in "[({" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        return text
    without_nan = re.sub(r"(?<=[:\[,])\s*nan(?=\s*[,\]}])", " None", text.strip())
    with_commas = re.sub(r"\}[^\S\n]*\n\s*\{", "},{", without_nan)  # numpy prints none between items
    for spelling in dict.fromkeys((text.strip(), without_nan, with_commas)):
        try:
            return ast.literal_eval(spelling)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
    return text


def unquoted(value: Any) -> Any:
    """The text in a JSON string with its quotes; any other value as it is."""
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def at(record: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Whether a record has a field, and its value; a dot in the path leads into an object, be it parsed or text."""
    if path in record:
        return True, record[path]
    value: Any = record
    for name in path.split("."):
        value = parsed(value)
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return False, None
    return True, value


def is_nothing(value: Any) -> bool:
    """Whether a field holds no value, in any of the ways in which tables write that."""
    if value is None or value is False or (isinstance(value, float) and math.isnan(value)):
        return True
    if isinstance(value, str):
        return value.strip().casefold() in _NOTHING
    return isinstance(value, list | dict | int) and not value


def is_blank(value: Any) -> bool:
    """Whether a field that holds a text holds none; "null" and "0" are texts."""
    return not value.strip() if isinstance(value, str) else is_nothing(value)


def as_number(value: Any) -> float | None:
    """A number, also as text or in MongoDB's extended JSON; None for anything else."""
    if (
        isinstance(value, dict)
        and len(value) == 1
        and next(iter(value)) in ("$numberInt", "$numberDouble", "$numberLong")
    ):
        value = next(iter(value.values()))
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def checked(text: str, whose: str) -> str:
    """A text that can be stored and shown. Raises RowError where it can't."""
    if _BAD_TEXT.search(text):
        character = "a NUL character" if "\0" in text else "a lone surrogate or bytes that are not UTF-8"
        raise RowError(f"unusable text: {whose} contains {character}")
    return text


def cleaned(text: str, most: int) -> str:
    """A text in one short line, without what can't be stored."""
    return _BAD_TEXT.sub("", " ".join(text.split()))[:most]


def listed(fields: Collection[str]) -> str:
    """The names of fields, for a reason."""
    names = ", ".join(shown(field) for field in list(fields)[:20])
    return names + (f" and {len(fields) - 20} more" if len(fields) > 20 else "") if fields else "none"


def shown(value: Any) -> str:
    """An untrusted value for a reason: control codes escaped, cut short."""
    return ascii(value)[:60] if isinstance(value, str) else kind(value)


def kind(value: Any) -> str:
    """The type of a value in words: "an object", "a list"."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _spells(value: Any) -> bool:
    """Whether a value holds a number whose own spelling JSON would change: 4.50."""
    if isinstance(value, dict):
        return any(map(_spells, value.values()))
    if isinstance(value, list):
        return any(map(_spells, value))
    return isinstance(value, Number) and value.text != repr(float(value))


def _spelled(value: Any) -> Iterator[str]:
    """The pieces of a value's JSON, each number as it was spelled."""
    if isinstance(value, dict):
        for number, (name, inner) in enumerate(value.items()):
            yield f"{', ' if number else '{'}{json.dumps(name, ensure_ascii=False)}: "
            yield from _spelled(inner)
        yield "}" if value else "{}"
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield ", " if number else "["
            yield from _spelled(inner)
        yield "]" if value else "[]"
    else:
        yield value.text if isinstance(value, Number) else json.dumps(value, ensure_ascii=False)


def as_json(value: Any) -> str:
    """A value as JSON text. Raises RowError where it is none."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=unreadable)
        return "".join(_spelled(value)) if _spells(value) else text
    except (ValueError, TypeError, RecursionError):
        raise RowError("unusable text: a value cannot be written as JSON") from None
