"""Records whose objects were flattened into columns with dots: `request.messages`, `messages.0.role`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROOTS = frozenset(
    {"request", "response", "messages", "inputs", "outputs", "input", "output", "body", "choices", "request_body"}
    | {"response_body", "params", "result", "prompt", "conversations"}
)
"""First names of columns that are opened: others may have dots of their own."""


DEEPEST = 32
"""Levels of objects that are looked through."""


def unflattened(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record with objects and lists for columns with dots, where these are parts of a request or a reply."""
    names = (name for name in record if isinstance(name, str) and "." in name)
    dotted = {name: None for name in names if name.partition(".")[0] in ROOTS}
    if not dotted or any(name.partition(".")[0] in record for name in dotted):
        return record
    nested = {name: value for name, value in record.items() if name not in dotted}
    for name in dotted:
        if record[name] is not None:
            _put(nested, name.split("."), record[name])
    return {name: _lists(value) for name, value in nested.items()}


def _put(place: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        place = inner
    place[path[-1]] = value


def _lists(value: Any, depth: int = DEEPEST) -> Any:
    """Objects whose fields are numbers, as lists."""
    if not isinstance(value, dict) or not depth:
        return value
    fields = {name: _lists(inner, depth - 1) for name, inner in value.items()}
    if fields and all(isinstance(name, str) and name.isdecimal() and len(name) < 10 for name in fields):
        return [fields[name] for name in sorted(fields, key=int)]
    return fields
