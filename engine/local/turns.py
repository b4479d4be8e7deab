"""Messages as chat templates take them: not as the API's, and not all templates alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.protocol.errors import InputError
from engine.protocol.rows import Message


def template_turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as templates take them: a call's arguments are an object, a result names its function.

    A result whose call is unknown names none. Raises InputError where arguments are not a JSON object.
    """
    names: dict[str, str] = {}
    turns = []
    for message in messages:
        turn: dict[str, Any] = {"role": message["role"], "content": message["content"]}
        calls = message.get("tool_calls", [])
        names |= {call["id"]: call["function"]["name"] for call in calls}
        if calls:
            functions = [{**c["function"], "arguments": arguments(c["function"]["arguments"])} for c in calls]
            turn["tool_calls"] = [{**call, "function": f} for call, f in zip(calls, functions, strict=True)]
        if message["role"] == "tool":
            id_ = message.get("tool_call_id", "")
            turn["tool_call_id"] = id_
            if id_ in names:
                turn["name"] = names[id_]
        turns.append(turn)
    return turns


def served_turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as servers give them to a template: as `template_turns`, but that results name no function."""
    return [{key: value for key, value in turn.items() if key != "name"} for turn in template_turns(messages)]


def arguments(text: str) -> dict[str, Any]:
    """The arguments of a call. Raises InputError where the text is not a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError("the arguments of a tool call are not a JSON object", "fix or remove the row")
    return value


def with_text_arguments(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns with the arguments of calls as JSON text."""

    def written(call: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        return {**call, "function": {**call["function"], "arguments": text}}

    return [
        {**turn, "tool_calls": list(map(written, turn["tool_calls"]))} if "tool_calls" in turn else turn
        for turn in turns
    ]


def in_parts(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns with each content as a list of one part, its text."""
    return [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
