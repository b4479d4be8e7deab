"""Tool definitions, calls and results of a recorded request, from OpenAI's or Anthropic's form to OpenAI's.

Calls get new ids, `call00001` and so on: the recorded ids carry no meaning, differ each time, and Mistral accepts nine
letters and digits only.
"""

from __future__ import annotations

import json
from typing import Any

from engine.dataset.record import RowError
from engine.protocol.rows import Message, Tool, ToolCall

MAX_DEPTH = 32
"""Levels of a tool's parameters or a call's arguments; deeper ones are rejected."""

OLD_FORM = "function_call is not supported: record the request with tools"


def definitions(record: dict[str, Any]) -> list[Tool]:
    """The functions that a request offers, under `tools` or the older `functions`."""
    old = _parsed(record.get("functions"), "functions")
    tools = _parsed(record.get("tools"), "tools") or [{"type": "function", "function": function} for function in old]
    return [_definition(tool) for tool in tools]


def calls(turn: dict[str, Any]) -> list[ToolCall]:
    """The calls in an assistant's turn: `tool_calls`, or parts of its content (Anthropic)."""
    if turn.get("function_call"):
        raise RowError(OLD_FORM)
    raw = _parsed(turn.get("tool_calls"), "tool_calls")
    parts = [part for part in _parts(turn) if part.get("type") == "tool_use"]
    raw += [{"id": part.get("id"), "function": {**part, "arguments": part.get("input")}} for part in parts]
    return [_call(call) for call in raw]


def results(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """The results in a user's turn as turns of the role `tool`: parts of its content (Anthropic)."""
    parts = [part for part in _parts(turn) if part.get("type") == "tool_result"]
    return [{"role": "tool", "content": p.get("content"), "tool_call_id": p.get("tool_use_id")} for p in parts]


def renumber(messages: list[Message]) -> None:
    """Give calls and their results new matching ids; all but the last message's calls need a result."""
    count, pending = 0, dict[str, str]()
    for message in messages:
        if message["role"] == "tool":
            answered = message.get("tool_call_id") or next(iter(pending), "")
            if answered not in pending:
                raise RowError("a tool result without its call")
            message["tool_call_id"] = pending.pop(answered)
        elif pending:
            raise RowError("a tool call without its result")
        for call in message.get("tool_calls", []):
            count += 1
            new = f"call{count:05d}"
            if pending.setdefault(call["id"] or new, new) != new:
                raise RowError("two tool calls with the same id")
            call["id"] = new


def _definition(tool: Any) -> Tool:
    if isinstance(tool, dict) and "input_schema" in tool:  # Anthropic
        tool = {"function": {**tool, "parameters": tool["input_schema"]}}
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or tool.get("type") not in (None, "function"):
        kind = tool.get("type") if isinstance(tool, dict) else None
        raise RowError(f"a tool is not a function ({ascii(kind)[:60]})")
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError("a tool has no name")
    known = {key: function[key] for key in ("name", "description", "parameters") if function.get(key) is not None}
    return {"type": "function", "function": _without_nulls(known, MAX_DEPTH)}


def _call(call: Any) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError("a tool call has no function name")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise RowError("a tool call's arguments are not valid JSON") from None
    if not isinstance(arguments, dict):
        raise RowError("a tool call's arguments are not a JSON object")
    text = json.dumps(_without_nulls(arguments, MAX_DEPTH, nulls=True), ensure_ascii=False)
    return {
        "id": str(call.get("id") or ""),
        "type": "function",
        "function": {"name": function["name"], "arguments": text},
    }


def _without_nulls(value: Any, depth: int, *, nulls: bool = False) -> Any:
    """A copy of a JSON value without null fields, which Parquet adds to give all rows the same fields."""
    if depth == 0:
        raise RowError("a tool is nested too deeply")
    if isinstance(value, dict):
        kept = {key: field for key, field in value.items() if nulls or field is not None}
        return {key: _without_nulls(field, depth - 1, nulls=nulls) for key, field in kept.items()}
    if isinstance(value, list):
        return [_without_nulls(item, depth - 1, nulls=nulls) for item in value]
    return value


def _parts(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _parsed(value: Any, name: str) -> list[Any]:
    """A list, which datasets and CSV files may store as text."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowError(f"{name} is text, not a list") from None
    if not value:
        return []
    if not isinstance(value, list):
        raise RowError(f"{name} is not a list")
    return list(value)
