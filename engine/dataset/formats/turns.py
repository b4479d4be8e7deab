"""Turns of a chat, in any provider's or logger's spelling, as messages in one form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.dataset.formats import parts, tools
from engine.dataset.formats.values import as_number, checked, is_nothing, kind, parsed, shown
from engine.dataset.record import RowError
from engine.protocol.rows import Message, message_text

ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "customer", "prompter"),
    "assistant": ("assistant", "model", "ai", "gpt", "bot", "chatbot", "chatgpt", "bing", "bard", "claude", "agent"),
    "tool": (
        "tool",
        "function",
        "observation",
        "ipython",
        "tool_response",
        "tool_result",
        "function_response",
        "environment",
    ),
}
"""The roles that messages have here, and what others call them."""

KNOWN = {name: role for role, names in ROLES.items() for name in names}

SURE = frozenset({"system", "developer", "user", "assistant", "human", "ai", "model", "gpt", "bot", "tool", "function"})
"""Roles by which a list in any field is known to be a chat."""

CLASSES = {
    "SystemMessage": "system",
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "AIMessageChunk": "assistant",
    "ToolMessage": "tool",
    "FunctionMessage": "tool",
}
"""The roles of LangChain's messages, by the class that is written into them."""

ATTACHED = ("images", "attachments", "experimental_attachments", "files")
"""Fields of a message with what no text can stand for."""

CALLS = ("function_call", "tool_call", "function-call", "tool-call")
"""Roles of turns that are a call, in ShareGPT's form with tools."""

CONTENT = ("content", "parts", "blocks", "value", "text", "message")

NAMED = "messages name their speaker, which no chat template shows"

_MARKS = (
    r"<(?P<tag>think|seed:think)>.*?</(?P=tag)>",
    r"\[THINK\].*?\[/THINK\]",
    r"<details type=.reasoning.*?</details>",
    r"\u25c1think\u25b7.*?\u25c1/think\u25b7",
    r"<\|channel\|>analysis.*?<\|channel\|>final<\|message\|>",
)
"""A thought before an answer, in the marks of models and of the apps that show them."""

_THOUGHT = re.compile(rf"\s*(?:{'|'.join(_MARKS)})\s*", re.DOTALL)
_OPENED = re.compile(
    r"\s*(?:<(?:think|seed:think)>|<details type=.reasoning|<\|channel\|>analysis|\[THINK\]|\u25c1think\u25b7)"
)
_CLOSED = re.compile(r"(?:</think>|\[/THINK\]|\u25c1/think\u25b7)[ \t]*(?:\n\s*|$)")
THOUGHT = "the model's reasoning is left out of the answer"


class Turn(NamedTuple):
    """A message, whether its answer may be learned, and whether it is the beginning that an answer was given."""

    message: Message
    learn: bool = True
    begins: bool = False


def is_messages(value: Any) -> bool:
    """Whether a value is a list of messages, and nothing else that a task may be about."""
    return isinstance(value, list) and bool(value) and all(map(is_message, value))


def is_message(value: Any) -> bool:
    """Whether an object is a message: it has a known role, and something that is said."""
    if not isinstance(value, dict):
        return False
    if value.get("lc") is not None and isinstance(value.get("kwargs"), dict):
        return True
    if value.get("type") == "item_reference":
        return True
    if value.get("type") in ("function_call", "function_call_output", "reasoning") and (
        "id" in value or "call_id" in value
    ):
        return True
    if "message.role" in value:
        return True
    if set(value) == {"message"}:
        return is_message(value["message"])
    written = next((value[key] for key in ("role", "from", "type", "sender") if isinstance(value.get(key), str)), "")
    said = any(key in value for key in ("content", "parts", "blocks", "value", "tool_calls", "function_call", "data"))
    return said and written.strip().casefold() in SURE


def read(values: Any, notes: set[str]) -> list[Turn]:
    """The turns in a list of messages. Raises RowError with the reason why it can't be read."""
    values = parsed(values)
    if isinstance(values, list) and len(values) == 1 and isinstance(values[0], list):
        values = values[0]  # LangChain logs a batch of one
    if not isinstance(values, list):
        raise RowError(f"unreadable message: messages is {kind(values)}, not a list")
    turns: list[Turn] = []
    for value in values:
        if (message := _plain(value, notes)) is not None:
            turns.append(Turn(message))
        else:
            _append(_opened(value), turns, notes)
    return turns


def _plain(value: Any, notes: set[str]) -> Message | None:
    """A message that is a role and a text, as most are; None for any other."""
    if not isinstance(value, dict) or len(value) != 2:
        return None
    role, text = value.get("role"), value.get("content")
    if not isinstance(text, str) or not isinstance(role, str):
        return None
    known = KNOWN.get(role)
    if known is None or known == "tool":
        return None
    if known == "assistant":
        text = without_thought(text, notes)
    return Message(role=known, content=checked(text, "the answer" if known == "assistant" else f"the {known}'s text"))


def _append(value: Any, turns: list[Turn], notes: set[str]) -> None:
    if not isinstance(value, dict):
        raise RowError(f"unreadable message: a message is {kind(value)}, not an object")
    item = value.get("type")
    if item == "item_reference":
        raise RowError("no prompt: the request refers to an earlier one that is not in the row (item_reference)")
    if (isinstance(item, str) and value.get("role") is None and "content" not in value) or item == "function_call":
        _append_item(value, turns, notes)
        return
    role = _role(value)
    if role in CALLS:
        _append_item({"type": "function_call", **_called(value)}, turns, notes)
        return
    if role not in ROLES:
        raise RowError("unreadable message: a message has no role" if not role else f"unknown role: {shown(role)}")
    if isinstance(value.get("name"), str) and role in ("user", "assistant") and value["name"]:
        notes.add(NAMED)
    begins = value.get("prefix") is True or value.get("partial") is True
    turns.extend(Turn(message, _learned(value), begins) for message in _messages(role, value, notes))


def _append_item(item: Mapping[str, Any], turns: list[Turn], notes: set[str]) -> None:
    """Add an item of the Responses API that is no message: a call belongs to the assistant's turn before it."""
    found = parts.read([item], notes)
    if found.texts:
        raise RowError("unreadable message: a message has no role")
    if found.calls:
        if not turns or turns[-1].message["role"] != "assistant":
            turns.append(Turn(Message(role="assistant", content="")))
        message = turns[-1].message
        message["tool_calls"] = [*message.get("tool_calls", []), *map(tools.call, found.calls)]
    turns.extend(Turn(_result(result, notes)) for result in found.results)


def _called(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The call in a turn that is nothing else. Raises RowError where it can't be read."""
    called = parsed(next((value[key] for key in CONTENT if value.get(key) is not None), None))
    if not isinstance(called, dict):
        raise RowError("tool call: it is not a JSON object")
    return called


def _messages(role: str, value: Mapping[str, Any], notes: set[str]) -> list[Message]:
    """The messages of a turn: results of tools stand in a user's turn of Anthropic, with or without a text."""
    content = next((value[key] for key in CONTENT if value.get(key) is not None), None)
    if isinstance(content, dict) and isinstance(content.get("parts"), list):  # ChatGPT's own export
        content = content["parts"]
    if role == "tool" and not _wraps_results(content):
        ids = [value[key] for key in ("tool_call_id", "tool_use_id", "call_id") if not is_nothing(value.get(key))]
        return [_result({"id": ids[0] if ids else None, "name": value.get("name"), "content": content}, notes)]
    if attached := next((key for key in ATTACHED if not is_nothing(value.get(key))), None):
        raise RowError(f"{'image' if attached == 'images' else 'file'}: a message has {attached}")
    if role == "assistant" and is_nothing(content) and not is_nothing(value.get("audio")):
        raise RowError("audio: the answer is spoken")
    if not is_nothing(value.get("toolInvocations")):
        raise RowError("tool call: toolInvocations are not read; export the messages of the model")
    if not is_nothing(value.get("refusal")) and role == "assistant":
        raise RowError("filtered: the service refused to answer")
    found = parts.read(content, notes)
    if role == "assistant":
        return [_answer(found, value, notes)]
    if found.calls or value.get("tool_calls") or value.get("function_call"):
        raise RowError(f"tool call: in a message of the role {role}")
    results = [_result(result, notes) for result in found.results]
    if role == "tool" or (results and not found.texts):
        return results
    joint = "" if "parts" in value else "\n"
    return [*results, Message(role=role, content=checked(joint.join(found.texts), f"the {role}'s text"))]


def _answer(found: parts.Parts, value: Mapping[str, Any], notes: set[str]) -> Message:
    """The assistant's message: its text blocks are one running text."""
    message = Message(role="assistant", content=checked(without_thought("".join(found.texts), notes), "the answer"))
    extra = value.get("additional_kwargs")
    calls = tools.calls(value) or (tools.calls(extra) if isinstance(extra, dict) else [])
    calls += list(map(tools.call, found.calls)) if not calls else []
    if calls:
        message["tool_calls"] = calls
        checked(message_text(message), "a tool call")
    return message


def without_thought(text: str, notes: set[str]) -> str:
    """An answer without the reasoning before it. Raises RowError where the answer ended in the midst of that."""
    if not (_OPENED.match(text) or _CLOSED.search(text)):
        return text
    if whole := _THOUGHT.match(text):
        notes.add(THOUGHT)
        return text[whole.end() :]
    if _OPENED.match(text):
        raise RowError("cut: the answer ends in the model's reasoning")
    closed = _CLOSED.search(text)
    if closed is None or _opens_before(text, closed):
        return text
    notes.add(THOUGHT)
    return text[closed.end() :]


def _opens_before(text: str, closed: re.Match[str]) -> bool:
    """Whether the end of a thought has its beginning in the text, so that the text speaks about such marks."""
    return closed[0].strip().replace("/", "") in text[: closed.start()]


def _result(result: Mapping[str, Any], notes: set[str]) -> Message:
    text = checked(parts.result_text(result.get("content"), notes), "a tool's result")
    return Message(role="tool", content=text, tool_call_id=tools.named(result.get("id"), result.get("name")))


def _wraps_results(content: Any) -> bool:
    """Whether the content of a tool's turn holds whole results: Bedrock, the AI SDK, Gemini."""
    marks = {"toolResult", "functionResponse", "function_response", "toolCallId", "tool_use_id"}
    return isinstance(content, list) and any(
        isinstance(part, dict) and (marks & set(part) or part.get("type") == "tool_call_response") for part in content
    )


def _role(value: Mapping[str, Any]) -> str:
    """The role of a message in our words; as it is written where nobody knows it, "" where it has none."""
    for key in ("role", "from", "type", "sender", "speaker", "author"):
        written = value.get(key)
        if isinstance(written, dict):
            written = written.get("role")
        if isinstance(written, str) and written:
            known = KNOWN.get(written.strip().casefold())
            if known or key in ("role", "from"):
                return known or written
    return ""


def _opened(value: Any) -> Any:
    """A message without its wrapping: JSON in text, LangChain's serialised classes."""
    value = parsed(value)
    if not isinstance(value, dict):
        return value
    inner = value.get("kwargs")
    if isinstance(inner, dict) and isinstance(names := value.get("id"), list) and names:
        return {"role": CLASSES.get(str(names[-1]), str(names[-1])), **inner, "type": None}
    if isinstance(inner := value.get("data"), dict) and "content" in inner:  # LangChain's older form
        return {**inner, "role": value.get("type") or value.get("role"), "type": None}
    if "message.role" in value:  # OpenInference
        return {name.removeprefix("message."): inner for name, inner in value.items() if isinstance(name, str)}
    inner = value.get("message")
    if isinstance(inner, dict) and "role" in inner and "role" not in value:
        return inner
    return value


def _learned(value: Mapping[str, Any]) -> bool:
    """Whether an answer is one to learn: OpenAI's `weight`, axolotl's `train`."""
    trained = value.get("train") is not False and value.get("training") is not False
    return as_number(value.get("weight")) != 0 and trained
