"""What must come of the exports in shared/data, as their `expected.json` says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.dataset.load import Loaded, load
from engine.dataset.split import split
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Pair
from engine.settings.schema import Coverage, Split

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "exports"


def cases(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The expectations; none where the folder is missing."""
    file = folder / "expected.json"
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return found


def problems(folder: Path, case: dict[str, Any]) -> Iterator[str]:
    """What is wrong with how an export is read; nothing where all is right."""
    words = case.get("error") or case.get("or", {}).get("error")
    try:
        loaded = load(Coverage(source=str(folder / case["file"]), **case.get("settings", {})))
    except InputError as error:
        if not (words and any(word.casefold() in str(error).casefold() for word in [*_list(words)])):
            yield f"refused: {error}"
        return
    if "error" in case:
        yield "accepted, though nobody can know what it means"
    else:
        yield from _differences(loaded, case)


def _differences(loaded: Loaded, case: dict[str, Any]) -> Iterator[str]:
    pairs = loaded.pairs
    if len(pairs) != case["rows"]:
        yield f"{len(pairs)} rows, not {case['rows']}: {[row.reason for row in loaded.dropped]}"
        return
    if "dropped" in case and sum(case["dropped"].values()) != len(loaded.dropped):
        yield f"{len(loaded.dropped)} dropped: {[row.reason for row in loaded.dropped]}"
    for kind, count in case.get("dropped", {}).items():
        found = sum(any(word in row.reason for word in (kind, *kind.split())) for row in loaded.dropped)
        if found != count:
            yield f"{found} dropped as {kind}, not {count}: {[row.reason for row in loaded.dropped]}"
    if first := case.get("first"):
        if (found_turns := _turns(pairs[0].messages, case)) != (wanted := _turns(first["messages"], case)):
            yield f"{found_turns} is not {wanted}"
        if len(pairs[0].tools) != first["tools"]:
            yield f"{len(pairs[0].tools)} tools"
    if "first_tool" in case and pairs[0].tools[0] != case["first_tool"]:
        yield f"tool {pairs[0].tools[0]}"
    if any(len(pair.tools) != case.get("all_tools", len(pair.tools)) for pair in pairs):
        yield "tools are missing"
    if "all_roles" in case and any([m["role"] for m in pair.messages] != case["all_roles"] for pair in pairs):
        yield "roles differ"
    for pair, category in zip(pairs, case.get("categories", []), strict=False):
        if pair.category not in _list(category):
            yield f"category {pair.category!r}, not {category!r}"
    if "kept_together" in case and (torn := torn_apart(pairs, [_first_user(pair) for pair in pairs])):
        yield f"{torn} conversations lie in two splits"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _turns(messages: list[Message], case: dict[str, Any]) -> list[Any]:
    """Messages to compare: ids of calls carry no meaning, and a JSON answer counts by its value."""
    turns: list[Any] = []
    for message in messages:
        calls = [call["function"] for call in message.get("tool_calls", [])]
        turns.append((message["role"], message["content"], [(c["name"], json.loads(c["arguments"])) for c in calls]))
    if case.get("as_json"):
        turns[-1] = (turns[-1][0], json.loads(turns[-1][1]))
    return turns


def _first_user(pair: Pair) -> str:
    return next(turn["content"] for turn in pair.messages if turn["role"] == "user")


def torn_apart(pairs: list[Pair], conversations: list[str]) -> int:
    """How many conversations have rows in more than one split; the second argument names each pair's."""
    of = dict(zip((pair.id for pair in pairs), conversations, strict=True))
    places: dict[str, set[int]] = {}
    for number, rows in enumerate(split(pairs, Split())):
        for pair in rows:
            places.setdefault(of[pair.id], set()).add(number)
    return sum(len(splits) > 1 for splits in places.values())
