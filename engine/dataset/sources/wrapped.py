"""Where the rows are in a JSON object: it is one row itself, or holds them in a list, as an API's page does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

USUAL = frozenset(
    {
        "data", "rows", "items", "results", "records", "hits", "examples", "entries", "logs", "runs", "observations",
        "traces", "samples", "instances", "dataset", "value", "values", "list", "result", "conversations",
        "completions", "requests", "responses", "events",
    }
)  # fmt: skip
"""Names, in lower case, under which rows usually lie; among several lists the one with such a name is taken."""

PROMPTS = frozenset(
    {"prompt", "instruction", "instructions", "question", "query", "input", "inputs", "request", "user"}
)
RESPONSES = frozenset(
    {"response", "completion", "output", "outputs", "answer", "target", "assistant", "generation", "chosen"}
)
"""Fields of a row, in lower case."""

PART_TYPES = frozenset(
    {
        "message", "text", "input_text", "output_text", "refusal", "reasoning", "function", "function_call",
        "function_call_output", "tool_use", "tool_result", "tool_call", "thinking", "redacted_thinking", "image",
        "image_url", "input_image", "audio", "input_audio", "file", "input_file", "document", "custom",
    }
)  # fmt: skip
"""Types of turns, of their parts and of tools, which are lists in a row."""

DEEPEST = 8
"""Levels of objects in which rows are looked for."""


class Rows(NamedTuple):
    """A list of rows and the keys that lead to it."""

    path: tuple[str, ...]
    items: list[Any]

    @property
    def usual(self) -> bool:
        """Whether rows usually lie under this name."""
        return self.path[-1].casefold() in USUAL

    @property
    def name(self) -> str:
        """The keys with dots: "hits.hits"."""
        return ".".join(self.path)


def is_turn(item: Any) -> bool:
    """Whether the first item of a list is part of a chat, and so the list part of a row: a turn, a choice, a tool."""
    if not isinstance(item, dict) or (item.keys() & PROMPTS and item.keys() & RESPONSES):
        return False
    if isinstance(item.get("role"), str) or {"from", "value"} <= item.keys() or "parts" in item:
        return True
    if isinstance(item.get("type"), str) and item["type"] in PART_TYPES:
        return True
    if "finishReason" in item or {"finish_reason", "index"} <= item.keys():
        return True
    return any(isinstance(item.get(key), dict) for key in ("message", "delta")) and not item.keys() & PROMPTS


def is_row(value: dict[str, Any]) -> bool:
    """Whether an object is one row: it has a prompt and a response, or a list of turns."""
    present = {key.casefold() for key, field in value.items() if field not in (None, "", [], {})}
    return bool(present & PROMPTS and present & RESPONSES) or any(_turns_in(value, DEEPEST))


def rows_in(value: dict[str, Any]) -> list[Rows]:
    """The lists of objects in an object, depth-first and through objects only; none where it is a row itself."""
    if is_row(value):
        return []
    found = list(_lists(value, (), DEEPEST))
    fields = {key.casefold() for key, field in value.items() if isinstance(field, str) and field}
    return [rows for rows in found if rows.usual] if fields & (PROMPTS | RESPONSES) else found


def is_page(value: Any) -> bool:
    """Whether one of several objects is a page: all that it has besides its rows are numbers, flags and short ids."""
    if not isinstance(value, dict) or is_row(value):
        return False
    found = [rows for rows in _lists(value, (), DEEPEST) if rows.usual]
    if len(found) != 1:
        return False
    top = found[0].path[0]
    return not any(_has_text(field) for key, field in value.items() if key != top)


def is_empty_page(value: Any) -> bool:
    """Whether an object is a page without rows, as the last one of many."""
    if not isinstance(value, dict) or is_row(value):
        return False
    return any(field == [] and key.casefold() in USUAL for key, field in value.items())


def unwrapped(item: Any) -> Any:
    """What a row is wrapped in, taken off: a hit of Elasticsearch, a row of the Hub's API, a node of GraphQL."""
    if type(item) is not dict:
        return item
    if isinstance(item.get("_source"), dict) and ("_id" in item or "_index" in item):
        return {key: field for key, field in item.items() if key != "_source"} | item["_source"]
    if isinstance(item.get("row"), dict) and "row_idx" in item:
        return item["row"]
    if isinstance(item.get("node"), dict) and item.keys() <= {"node", "cursor"}:
        return item["node"]
    return item


def is_columnar(value: dict[str, Any]) -> bool:
    """Whether an object holds columns rather than rows, as pandas writes them unless it is told otherwise."""
    fields = list(value.values())
    if not fields:
        return False
    if "columns" in value and isinstance(value.get("data"), list):
        return True
    if all(isinstance(field, dict) and field and all(key.isdigit() for key in field) for field in fields):
        return True
    lengths = {len(field) if isinstance(field, list) else 0 for field in fields}
    objects = any(isinstance(field[0], dict) for field in fields if isinstance(field, list) and field)
    return len(fields) > 1 and len(lengths) == 1 and lengths.pop() > 0 and not objects


def is_keyed(value: dict[str, Any]) -> bool:
    """Whether an object holds rows by their keys: two or more objects with the same fields."""
    fields = list(value.values())
    if len(fields) < 2 or is_row(value) or not all(isinstance(field, dict) and field for field in fields):
        return False
    return all(field.keys() == fields[0].keys() for field in fields)


def _lists(value: dict[str, Any], path: tuple[str, ...], depth: int) -> Iterator[Rows]:
    for key, field in value.items():
        if isinstance(field, dict) and depth:
            yield from _lists(field, (*path, key), depth - 1)
        elif isinstance(field, list) and field and isinstance(field[0], dict) and not is_turn(field[0]):
            yield Rows((*path, key), field)


def _turns_in(value: dict[str, Any], depth: int) -> Iterator[bool]:
    for field in value.values():
        if isinstance(field, dict) and depth:
            yield from _turns_in(field, depth - 1)
        elif isinstance(field, list) and field and is_turn(field[0]):
            yield True


def _has_text(value: Any) -> bool:
    """Whether a field next to a page's list has text of its own; ids and addresses directly in the page have none."""
    if isinstance(value, dict):
        return any(isinstance(field, str | list | dict) and bool(field) for field in value.values())
    return isinstance(value, list) and bool(value)
