"""Tool definitions, calls and results of a recorded request, from any provider's form to OpenAI's.

Calls get new ids, `call00001` and so on: the recorded ids carry no meaning, differ each time, and Mistral accepts nine
letters and digits only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from engine.dataset.formats.parts import OWN_TOOLS
from engine.dataset.formats.values import as_json, checked, is_nothing, parsed, shown
from engine.dataset.record import RowError
from engine.protocol.rows import Message, Tool, ToolCall

MAX_DEPTH = 32
"""Levels of a tool's parameters or a call's arguments; deeper ones are rejected."""

PARAMETERS = ("parameters", "input_schema", "inputSchema", "parametersJsonSchema")

FIELDS = frozenset(
    {"tools", "functions", "tool_definitions", "available_tools", "toolConfig", "tool_params", "dynamic_tool_params"}
    | {"tools_available", "additional_tools"}
)
"""Fields of a request or beside it that may hold tools."""

BY_NAME = "name:"
"""Begins the id of a result that names its function only: Gemini, and OpenAI's functions before tools."""

_OWN = re.compile(
    r"search|interpreter|execution|computer|retrieval|browser|bash|text_editor|image_generation|mcp|shell|url_context|grounding"
)


def definitions(request: Mapping[str, Any], notes: set[str]) -> list[Tool]:
    """The functions that a request offers, wherever providers put them. Tools that the service runs are left out."""
    tools: list[Tool] = []
    if FIELDS.isdisjoint(request):
        return tools
    for tool in _offered(request):
        if _is_own(tool):
            notes.add(OWN_TOOLS)
        else:
            tools.append(_definition(tool))
    checked(as_json(tools), "a tool definition")
    return tools


def _offered(request: Mapping[str, Any]) -> Iterator[Any]:
    """The raw tools of a request, of which some are bundles."""
    offered: list[Any] = []
    for name in ("tools", "functions", "tool_definitions", "available_tools"):
        if not isinstance(given := parsed(request.get(name)), str) and (offered := _list(given, name)):
            break
    params = [request, *(parsed(request.get(name)) for name in ("tool_params", "dynamic_tool_params"))]
    for place in params if not offered else ():  # TensorZero
        for name in ("tools_available", "additional_tools"):
            if isinstance(place, dict) and isinstance(given := parsed(place.get(name)), list):
                offered = [*offered, *given]
    config = parsed(request.get("toolConfig"))
    if not offered and isinstance(config, dict):
        offered = _list(config.get("tools"), "tools")
    for tool in offered:
        tool = parsed(tool)
        bundle = (
            tool.get("functionDeclarations") or tool.get("function_declarations") if isinstance(tool, dict) else None
        )
        if isinstance(bundle, list):
            yield from bundle
        elif not (isinstance(tool, dict) and "cachePoint" in tool):
            yield tool


def _is_own(tool: Any) -> bool:
    """Whether the service runs a tool itself: it has a type or a field that says so, and no parameters."""
    if not isinstance(tool, dict) or any(tool.get(key) is not None for key in ("function", "toolSpec", *PARAMETERS)):
        return False
    type_ = tool.get("type")
    names = [type_] if isinstance(type_, str) else [key for key, value in tool.items() if value is not None]
    if type_ is None and tool.get("name") is None:
        return bool(tool)
    return type_ not in ("function", "custom") and any(_OWN.search(_snake(str(name))) for name in names)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold()


def _definition(tool: Any) -> Tool:
    inner = tool
    for wrapper in ("toolSpec", "function"):
        if isinstance(tool, dict) and isinstance(parsed(tool.get(wrapper)), dict):
            inner = parsed(tool[wrapper])
    if not isinstance(inner, dict) or (inner is tool and tool.get("type") not in (None, "function", "custom")):
        type_ = tool.get("type") if isinstance(tool, dict) else tool
        raise RowError(f"tool definition: a tool is not a function ({shown(type_)})")
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        raise RowError("tool definition: a tool has no name")
    schema = next((parsed(inner[key]) for key in PARAMETERS if inner.get(key) is not None), None)
    if isinstance(schema, dict) and set(schema) == {"json"}:  # Bedrock
        schema = parsed(schema["json"])
    known = {"name": name, "description": inner.get("description"), "parameters": schema}
    return {"type": "function", "function": _limited(known, MAX_DEPTH, nulls=False)}


def calls(turn: Mapping[str, Any]) -> list[ToolCall]:
    """The calls of an assistant's turn under `tool_calls`, or the older `function_call`."""
    raw = _list(turn.get("tool_calls") or turn.get("toolCalls"), "tool_calls")
    if not raw and isinstance(old := parsed(turn.get("function_call")), dict) and not is_nothing(old.get("name")):
        raw = [{"function": old}]
    return [call(one) for one in raw]


def call(raw: Any) -> ToolCall:
    """One call. Raises RowError where it can't be used."""
    raw = parsed(raw)
    function = parsed(raw.get("function")) if isinstance(raw, dict) else None
    function = function if isinstance(function, dict) else raw
    name = (function.get("name") or function.get("toolName")) if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise RowError("tool call: it has no function name")
    arguments: Any = next(
        (function[key] for key in ("arguments", "args", "input", "parameters") if function.get(key) is not None), {}
    )
    if isinstance(arguments, str):
        try:
            arguments = parsed(json.loads(arguments or "{}"))
        except (ValueError, RecursionError):
            raise RowError("tool call: its arguments are not valid JSON") from None
    if not isinstance(arguments, dict):
        raise RowError("tool call: its arguments are not a JSON object")
    text = as_json(_limited(arguments, MAX_DEPTH))
    return {
        "id": str(raw.get("id") or raw.get("toolCallId") or ""),
        "type": "function",
        "function": {"name": name, "arguments": text},
    }


def named(id_: Any, name: Any) -> str:
    """The id by which a result finds its call: the recorded one, else the function's name."""
    if not is_nothing(id_):
        return str(id_)
    return f"{BY_NAME}{name}" if isinstance(name, str) and name else ""


class _Waiting(NamedTuple):
    """A call without its result so far: its recorded id, its function's name, and its new id."""

    recorded: str
    name: str
    new: str


def renumber(messages: list[Message]) -> None:
    """Give calls and their results new matching ids; all but the last message's calls need a result."""
    count, pending, ids = 0, list[_Waiting](), set[str]()
    for message in messages:
        if message["role"] == "tool":
            answered = _answered(message.get("tool_call_id", ""), pending)
            pending.remove(answered)
            ids.discard(answered.recorded)
            message["tool_call_id"] = answered.new
        elif pending:
            raise RowError("tool call: it has no result")
        for made in message.get("tool_calls", []):
            if made["id"] and made["id"] in ids:
                raise RowError("tool call: two have the same id")
            ids.add(made["id"])
            count += 1
            pending.append(_Waiting(made["id"], made["function"]["name"], f"call{count:05d}"))
            made["id"] = pending[-1].new


def _answered(id_: str, pending: list[_Waiting]) -> _Waiting:
    """The call that a result answers, of those that wait."""
    for waiting in pending:
        by_name = id_.startswith(BY_NAME) and waiting.name == id_[len(BY_NAME) :]
        if not id_ or by_name or waiting.recorded == id_:
            return waiting
    raise RowError("tool call: a result without its call")


def _limited(value: Any, depth: int, *, nulls: bool = True) -> Any:
    """A copy of a JSON value, if need be without the null fields that tables add to give all rows the same fields.

    Raises RowError where it is nested too deeply.
    """
    if depth == 0:
        raise RowError("tool definition: nested too deeply")
    if isinstance(value, dict):
        kept = {key: field for key, field in value.items() if nulls or field is not None}
        return {key: _limited(field, depth - 1, nulls=nulls) for key, field in kept.items()}
    if isinstance(value, list):
        return [_limited(item, depth - 1, nulls=nulls) for item in value]
    return value


def _list(value: Any, name: str) -> list[Any]:
    """A list, which datasets and CSV files may store as text."""
    value = parsed(value)
    if is_nothing(value):
        return []
    if not isinstance(value, list):
        raise RowError(f"tool definition: {name} is not a list")
    return value
