"""Converts one raw record, in any of the usual formats, to chat messages; knows nothing about files.

Formats, by the first that fits: columns named in the settings · `messages` (also LlamaDuo's columns) · a recorded
request with its response (OpenAI, its batch API, stored completions, Anthropic) · a prompt and a response under their
usual names (Alpaca, Dolly, TRL's `prompt`/`completion`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple

from engine.dataset import tools
from engine.dataset.record import RowError
from engine.protocol.rows import Message, Tool, message_text
from engine.settings.schema import Columns

PROMPT = ("prompt", "instruction", "question", "query", "input", "user")
RESPONSE = ("response", "completion", "output", "answer", "target", "assistant")
SYSTEM = ("system", "system_prompt")
CATEGORY = ("category",)
CONTEXT = ("input", "context")
"""Fields of Alpaca and Dolly that belong to the prompt, next to the instruction."""

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
FOLLOWERS = {"system": ["user"], "user": ["assistant"], "assistant": ["user"], "tool": ["assistant", "tool", "user"]}
"""The roles that may follow each role; after tool calls of the assistant come their results."""

REASONING = ("thinking", "redacted_thinking")
"""Content blocks of Anthropic's responses that hold the model's reasoning, which is not part of the target."""

MAX_CATEGORY = 100

_BAD_TEXT = re.compile("[\x00\ud800-\udfff]")


class Names(NamedTuple):
    """The names of a record's fields by their meaning; None where it has no such field."""

    prompt: str | None
    response: str | None
    system: str | None
    category: str | None
    context: str | None


@lru_cache(maxsize=256)
def find_names(fields: tuple[str, ...], columns: Columns) -> Names:
    """The names of a record's fields: those in the settings, else the usual ones, in upper or lower case.

    Raises RowError where the settings name a field that the record lacks.
    """
    known = {field.strip().casefold(): field for field in reversed(fields)}

    def find(setting: str, usual: tuple[str, ...]) -> str | None:
        chosen: str | None = getattr(columns, setting)
        if chosen is not None and chosen not in fields:
            raise RowError(f"no column {chosen!r} (coverage.columns.{setting}); there are: {_listed(fields)}")
        return chosen or next((known[name] for name in usual if name in known), None)

    prompt = find("prompt", PROMPT)
    contexts = [known[name] for name in CONTEXT if name in known and known[name] != prompt]
    context = contexts[0] if contexts and columns.prompt is None else None
    return Names(prompt, find("response", RESPONSE), find("system", SYSTEM), find("category", CATEGORY), context)


def check_table(fields: tuple[str, ...], columns: Columns) -> None:
    """Raise RowError where no row of a table with these columns could be used."""
    names = find_names(fields, columns)
    if columns.prompt or columns.response or not {"messages", "request", "body"} & set(fields):
        _require(names, fields)


def to_messages(record: Any, columns: Columns) -> list[Message]:
    """The chat of a record: a system message or none, then user and assistant in turn; the assistant is last.

    After a tool call of the assistant come the results, with the role `tool`, before its next message.

    Raises RowError with the reason why the record cannot be used.
    """
    if not isinstance(record, dict):
        raise RowError(f"not a JSON object but {_kind(record)}")
    names = find_names(tuple(record), columns)
    messages = [message for turn in _turns_of(record, names, columns) for message in _messages(turn)]
    if names.system is not None and not (messages and messages[0]["role"] == "system"):
        messages.insert(0, Message(role="system", content=_text(record[names.system], "system prompt")))
    if messages and messages[0]["role"] == "system" and not messages[0]["content"].strip():
        del messages[0]
    _check(messages)
    tools.renumber(messages)
    return messages


def tools_of(record: dict[str, Any], columns: Columns) -> list[Tool]:
    """The functions that the recorded request offers to the assistant, often none. Raises RowError."""
    if columns.prompt is not None or columns.response is not None:
        return []
    definitions = tools.definitions(record) or tools.definitions(_request(record) or {})
    if _BAD_TEXT.search(json.dumps(definitions, ensure_ascii=False)):
        raise RowError("a tool definition contains a lone surrogate")
    return definitions


def category_of(record: dict[str, Any], columns: Columns) -> str:
    """The category of a record in one short line; "" where it has none."""
    name = find_names(tuple(record), columns).category
    value = record[name] if name is not None else None
    if not isinstance(value, str | int | float):
        return ""
    return _BAD_TEXT.sub("", " ".join(str(value).split()))[:MAX_CATEGORY]


def _turns_of(record: dict[str, Any], names: Names, columns: Columns) -> list[Any]:
    if columns.prompt is None and columns.response is None:
        if record.get("messages") is not None:
            turns = _list(record["messages"])
            if not _ends_with_assistant(turns) and _response(record) is not None:
                turns = [*turns, *_response_turns(record)]
            return turns
        request = _request(record)
        if request is not None:
            return [*_request_turns(request), *_response_turns(record)]
    prompt, response = _require(names, tuple(record))
    turns = _turns(record[prompt], "user", "prompt")
    context = _text(record[names.context], "input") if names.context is not None else ""
    if context.strip() and len(turns) == 1:
        turns = [{**turns[0], "content": f"{turns[0]['content']}\n\n{context}"}]
    return [*turns, *_turns(record[response], "assistant", "response")]


def _request(record: dict[str, Any]) -> dict[str, Any] | None:
    """The recorded request of a record, if it has one."""
    for key in ("request", "body", "input"):
        value = _unwrapped(record.get(key))
        if isinstance(value, dict):
            return value
    if isinstance(record.get("input"), list) and "output" in record:
        return {"messages": record["input"]}
    return None


def _request_turns(request: dict[str, Any]) -> list[Any]:
    if request.get("messages") is None:
        raise RowError("no messages in the request")
    system = request.get("system")
    return [*([{"role": "system", "content": system}] if system else []), *_list(request["messages"])]


def _response_turns(record: dict[str, Any]) -> list[Any]:
    """The assistant's turn in a recorded response, however deep it is wrapped."""
    response = _response(record)
    if response is None:
        raise RowError("no response to the request")
    if not isinstance(response, dict):
        return _turns(response, "assistant", "response")
    if record.get("error") or response.get("error"):
        raise RowError("the request failed")
    if "choices" not in response:
        _check_complete(response.get("stop_reason"))
        return [{"role": "assistant", **response}]
    choices = response["choices"]
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise RowError("no choices in the response")
    _check_complete(choices[0].get("finish_reason"))
    return [choices[0].get("message")]


def _response(record: dict[str, Any]) -> Any:
    return _unwrapped(record.get("response") if record.get("response") is not None else record.get("output"))


def _check_complete(finish_reason: Any) -> None:
    """Raise RowError for a truncated response: it is not a target to learn from."""
    if finish_reason in ("length", "max_tokens", "content_filter"):
        raise RowError(f"the response is truncated ({finish_reason})")


def _ends_with_assistant(turns: list[Any]) -> bool:
    return bool(turns) and isinstance(turns[-1], dict) and turns[-1].get("role") == "assistant"


def _unwrapped(value: Any) -> Any:
    """The body of a request or of a response, which the batch API wraps."""
    return value["body"] if isinstance(value, dict) and isinstance(value.get("body"), dict) else value


def _turns(value: Any, role: str, name: str) -> list[Any]:
    """A text as one turn; a list of messages (TRL's conversational form) as it is."""
    if isinstance(value, list) and value and all(isinstance(turn, dict) and "role" in turn for turn in value):
        return value
    return [{"role": role, "content": _text(value, name)}]


def _list(messages: Any) -> list[Any]:
    if isinstance(messages, str):  # a CSV cell
        try:
            messages = json.loads(messages)
        except (ValueError, RecursionError):
            raise RowError("messages is text, not a list of messages") from None
    if not isinstance(messages, list):
        raise RowError(f"messages is {_kind(messages)}, not a list")
    return messages


def _messages(turn: Any) -> list[Message]:
    """The messages of a turn: Anthropic's user turns contain tool results, with or without a text."""
    if not isinstance(turn, dict):
        raise RowError(f"a message is {_kind(turn)}, not an object")
    role = turn.get("role")
    if role == "function":
        raise RowError(tools.OLD_FORM)
    if not isinstance(role, str) or role not in ROLES:
        raise RowError("a message has no role" if role is None else f"unknown role {_shown(role)}")
    if role != "assistant" and (turn.get("tool_calls") or turn.get("function_call")):
        raise RowError(f"a tool call in a {role} message")
    content = turn.get("content")
    if role == "assistant":
        if turn.get("refusal"):
            raise RowError("the service refused to answer")
        message = _message("assistant", _without(content, "tool_use", *REASONING))
        if calls := tools.calls(turn):
            message["tool_calls"] = calls
        if _BAD_TEXT.search(message_text(message)):
            raise RowError("a tool call contains a lone surrogate")
        return [message]
    if role == "tool":
        message = _message("tool", content)
        message["tool_call_id"] = str(turn.get("tool_call_id") or "")
        return [message]
    results = tools.results(turn)
    rest = _without(content, "tool_result")
    text = [_message(ROLES[role], rest)] if rest or not results else []
    return [*(message for result in results for message in _messages(result)), *text]


def _message(role: str, content: Any) -> Message:
    text = _text(content, "content")
    if _BAD_TEXT.search(text):
        character = "a NUL character" if "\0" in text else "a lone surrogate or bytes that are not UTF-8"
        raise RowError(f"the {role}'s text contains {character}")
    return Message(role=role, content=text)


def _without(content: Any, *kinds: str) -> Any:
    """A content without its parts of these kinds."""
    if not isinstance(content, list):
        return content
    return [part for part in content if not (isinstance(part, dict) and part.get("type") in kinds)]


def _text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int | float):
        return json.dumps(value)
    if isinstance(value, list):
        return "\n".join(_text_part(part) for part in value)
    raise RowError(f"{name} is {_kind(value)}, not text")


def _text_part(part: Any) -> str:
    """The text of one part of a content list; a prompt without its image or sound would be another task."""
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else None
    raise RowError(f"content has a part that is not text ({_shown(kind) if kind else _kind(part)})")


def _check(messages: list[Message]) -> None:
    if not messages or messages[-1]["role"] != "assistant":
        raise RowError("the last turn is not the assistant's")
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    expected = FOLLOWERS["system"]
    for number, turn in enumerate(turns, 1):
        if turn["role"] not in expected:
            roles = " or ".join(expected)
            raise RowError(f"wrong role order: {turn['role']} instead of {roles} (turn {number})")
        if not message_text(turn).strip() and turn["role"] != "tool":
            raise RowError("empty response" if turn is turns[-1] else "empty prompt")
        expected = ["tool"] if turn.get("tool_calls") else FOLLOWERS[turn["role"]]


def _require(names: Names, fields: Collection[str]) -> tuple[str, str]:
    if names.prompt is None or names.response is None:
        missing = "prompt" if names.prompt is None else "response"
        raise RowError(f"no column for the {missing}; there are: {_listed(fields)}")
    return names.prompt, names.response


def _listed(fields: Collection[str]) -> str:
    shown = ", ".join(_shown(field) for field in list(fields)[:20])
    return shown + (f" and {len(fields) - 20} more" if len(fields) > 20 else "") if fields else "none"


def _shown(value: Any) -> str:
    """An untrusted value for a reason: control codes escaped, cut short."""
    return ascii(value)[:60] if isinstance(value, str) else _kind(value)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
