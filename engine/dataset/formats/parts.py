"""The content of one message, taken apart: its text, its tool calls, and the results of tools, of any provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.dataset.formats.values import as_json, is_nothing, kind, parsed, shown
from engine.dataset.record import Binary, Number, RowError, unreadable

OWN_TOOLS = "the service used or offered built-in tools, such as web search"
"""Of a row whose answer may rest on what the local LLM can't look up."""

TEXT = frozenset({"text", "input_text", "output_text", "summary_text", "raw_text"})
THOUGHTS = frozenset(
    {"thinking", "redacted_thinking", "reasoning", "reasoning_content", "thought", "redacted_reasoning"}
)
MARKS = frozenset({"cachepoint", "reference", "step-start", "step_start", "context_management", "compaction"})
"""Parts without text of their own."""

MEDIA = {"image": "image", "picture": "image", "audio": "audio", "video": "video", "sound": "audio"}
BESIDE_TEXT = frozenset(
    {"text", "type", "annotations", "block_type", "thought", "thoughtSignature", "thought_signature", "citations"}
    | {"cache_control", "cacheControl", "videoMetadata", "video_metadata", "logprobs"}
)
"""Fields of a part that is a text."""

_MEDIA_KEYS = frozenset(
    {"image", "video", "audio", "document", "inlineData", "inline_data", "fileData", "file_data", "image_url"}
)
FILES = ("file", "document", "pdf")


@dataclass(slots=True)
class Parts:
    """What a content holds, in order; calls and results are raw: `id`, `name`, `arguments` or `content`."""

    texts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)


def read(content: Any, notes: set[str]) -> Parts:
    """Take a content apart, be it a text or a list of parts of any provider.

    Raises RowError where it has something that no text can stand for: a question without its picture is another one.
    """
    parts = Parts()
    for part in content if isinstance(content, list) else [content]:
        _add(part, parts, notes)
    return parts


def _add(part: Any, parts: Parts, notes: set[str]) -> None:
    if not isinstance(part, dict):
        parts.texts.append(plain(part, "content"))
        return
    type_ = part.get("type")
    name = type_.casefold() if isinstance(type_, str) else ""
    if part.get("thought") in (True, "true") or name in THOUGHTS or "reasoningContent" in part or name in MARKS:
        return
    if name == "refusal" or not is_nothing(part.get("refusal")):
        raise RowError("filtered: the service refused to answer")
    if _call(name, part, parts) or _result(name, part, parts) or _own_tool(name, part, notes):
        return
    filled = {key for key, value in part.items() if value is not None}
    if name in TEXT or (not name and "text" in filled and filled <= BESIDE_TEXT):
        said = next((part[key] for key in ("text", "value", "content") if part.get(key) is not None), None)
        parts.texts.append(plain(said["value"] if isinstance(said, dict) and "value" in said else said, "content"))
    elif isinstance(part.get("guardContent"), dict):
        _add(part["guardContent"].get("text"), parts, notes)
    elif not name and filled.isdisjoint(_MEDIA_KEYS) and "cachePoint" not in part and filled:
        parts.texts.append(as_json(part))  # a loader parsed a text that was JSON
    elif "cachePoint" not in part:
        raise RowError(_not_text(name, part))


def plain(value: Any, name: str) -> str:
    """A text, or what a table holds in its place. Raises RowError for anything else."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and value != value) or value in (float("inf"), -float("inf")):
        return ""
    if isinstance(value, bool | int | float):
        return value.text if isinstance(value, Number) else json.dumps(value)
    if isinstance(value, Binary):
        unreadable(value)
    raise RowError(f"unreadable message: {name} is {kind(value)}, not text")


def _call(name: str, part: Mapping[str, Any], parts: Parts) -> bool:
    """Whether a part is a call of a tool: Anthropic, Gemini, Bedrock, the AI SDK, Responses."""
    if name in ("tool_use", "tool-call", "tool_call", "function_call"):
        arguments = next((part[key] for key in ("input", "args", "arguments") if part.get(key) is not None), None)
        called = _first(part, "name", "toolName")
        parts.calls.append({"id": _first(part, "call_id", "id", "toolCallId"), "name": called, "arguments": arguments})
    elif isinstance(call := part.get("functionCall") or part.get("function_call"), dict):
        parts.calls.append({"id": call.get("id"), "name": call.get("name"), "arguments": call.get("args")})
    elif isinstance(call := part.get("toolUse"), dict):
        parts.calls.append({"id": call.get("toolUseId"), "name": call.get("name"), "arguments": call.get("input")})
    else:
        return False
    return True


def _result(name: str, part: Mapping[str, Any], parts: Parts) -> bool:
    """Whether a part is a tool's result."""
    if name in ("tool_result", "tool-result", "function_call_output", "tool_call_response"):
        content = next(
            (part[key] for key in ("content", "output", "result", "response") if part.get(key) is not None), None
        )
        parts.results.append(
            {
                "id": _first(part, "tool_use_id", "toolCallId", "call_id", "id"),
                "name": part.get("toolName"),
                "content": content,
            }
        )
    elif isinstance(result := part.get("functionResponse") or part.get("function_response"), dict):
        parts.results.append(
            {"id": result.get("id"), "name": result.get("name"), "content": _sole(result.get("response"))}
        )
    elif isinstance(result := part.get("toolResult"), dict):
        parts.results.append({"id": result.get("toolUseId"), "name": None, "content": result.get("content")})
    else:
        return False
    return True


def result_text(content: Any, notes: set[str]) -> str:
    """A tool's result as text: data is written as JSON, blocks of text are joined."""
    if isinstance(content, dict):
        if content.get("type") in ("json", "text") and "value" in content:  # the AI SDK
            inner = content["value"]
            return inner if isinstance(inner, str) else as_json(inner)
        if set(content) == {"json"}:  # Bedrock
            return as_json(content["json"])
        return "\n".join(read(content, notes).texts) if _is_block(content) else as_json(content)
    if isinstance(content, list):
        blocks = bool(content) and all(isinstance(one, dict) and (_is_block(one) or "json" in one) for one in content)
        return "\n".join(result_text(one, notes) for one in content) if blocks else as_json(content)
    return "\n".join(read(content, notes).texts)


def _is_block(part: Mapping[str, Any]) -> bool:
    """Whether an object is a block of a message's content, text or not."""
    type_ = part.get("type")
    known = isinstance(type_, str) and (type_.casefold() in TEXT or any(sign in type_ for sign in (*MEDIA, *FILES)))
    return (
        known
        or {key for key, value in part.items() if value is not None} == {"text"}
        or not _MEDIA_KEYS.isdisjoint(part)
    )


def _own_tool(name: str, part: Mapping[str, Any], notes: set[str]) -> bool:
    """Whether a part is of a tool that the service runs itself: its text isn't said by anybody."""
    own = name.startswith(("server_tool_use", "web_search", "file_search", "code_interpreter", "computer", "mcp_"))
    own = own or name.endswith(("_tool_result", "_call", "_call_output")) or "image_generation" in name
    own = own or any(key in part for key in ("executableCode", "codeExecutionResult"))
    if own:
        notes.add(OWN_TOOLS)
    return own


def _not_text(name: str, part: Mapping[str, Any]) -> str:
    """The reason that a part is no text: "image: ...", "audio: ..."."""
    what = name or next((key for key in part if isinstance(key, str) and not is_nothing(part[key])), "")
    inner = part.get(what)
    media = inner if isinstance(inner, dict) else part
    mime = next(
        (media[key] for key in ("mimeType", "mime_type", "media_type", "mediaType") if isinstance(media.get(key), str)),
        "",
    )
    for word in (mime.casefold(), what.casefold()):
        for sign, found in MEDIA.items():
            if sign in word:
                return f"{found}: the content has a part that is not text ({shown(what)})"
    if any(sign in f"{mime} {what}".casefold() for sign in FILES) or "data" in what.casefold():
        return f"file: the content has a part that is not text ({shown(what)})"
    return f"unreadable message: the content has an unknown part ({shown(what) if what else kind(part)})"


def _first(part: Mapping[str, Any], *keys: str) -> Any:
    return next((part[key] for key in keys if not is_nothing(part.get(key))), None)


def _sole(value: Any) -> Any:
    """The text of a Gemini result, which is wrapped in an object with one field."""
    if isinstance(value, dict) and set(value) in ({"result"}, {"output"}, {"content"}):
        return next(iter(value.values()))
    return parsed(value) if isinstance(value, dict) else value
