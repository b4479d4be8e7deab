"""A chat's shape: its roles, calls and results without their words, by which templates render it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from engine.local.turns import arguments
from engine.protocol.rows import Message, Tool, ToolCall

KINDS = {str: "text", int: "number", float: "number", bool: "bool", type(None): "null", list: "list", dict: "object"}
WORD = re.compile(r"probe\d{4,}text|probecall\d{4,}(?:name|argument\d+(?:key|value))")
"""The words of probes, each of which this finds whole even where nothing is between two of them."""


class Mark(NamedTuple):
    """A message without its words.

    `text` says whether it has any. `calls` has the kinds of values among the arguments of each call, such as "number"
    and "list>text", since some templates render some kinds only; `answers` is the number of the call, from 0, whose
    result this is, -1 where it is none or unknown.
    """

    role: str
    text: bool
    calls: tuple[tuple[str, ...], ...] = ()
    answers: int = -1


Shape = tuple[Mark, ...]


class Word(NamedTuple):
    """A word of a probe: `what` names the thing that it stands for, `once` whether it may not be repeated."""

    word: str
    what: str
    once: bool


class Probe(NamedTuple):
    """A chat of a shape in which each thing is a word of its own, with the words of each message."""

    messages: list[Message]
    words: list[list[Word]]


CALLS = "tool calls or their results"
TOOL_WORDS = ("probetool", "probedescription", "probeparameter")
PROBE_TOOL: Tool = {
    "type": "function",
    "function": {
        "name": TOOL_WORDS[0],
        "description": TOOL_WORDS[1],
        "parameters": {"type": "object", "properties": {TOOL_WORDS[2]: {"type": "string"}}},
    },
}

_PLAIN = {role: Mark(role, True) for role in ("system", "user", "assistant")}


def shape_of(messages: Sequence[Message]) -> Shape:
    """The shape of a chat or a part of one. Raises InputError where a call's arguments are not a JSON object."""
    calls: dict[str, int] = {}
    marks: list[Mark] = []
    for message in messages:
        role, content = message["role"], message["content"]
        text = bool(content) and not content.isspace()
        if text and role in _PLAIN and "tool_calls" not in message:
            marks.append(_PLAIN[role])
            continue
        made = message.get("tool_calls", [])
        answers = calls.get(message.get("tool_call_id", ""), -1) if role == "tool" else -1
        calls |= {call["id"]: number for number, call in enumerate(made, len(calls))}
        marks.append(Mark(role, text, tuple(map(_kinds, made)), answers))
    return tuple(marks)


def probe(shape: Shape) -> Probe:
    """A chat of this shape."""
    ids = [f"call{number:05d}" for number in range(1, 1 + sum(len(mark.calls) for mark in shape))]
    messages: list[Message] = []
    words: list[list[Word]] = []
    calls = 0
    for number, mark in enumerate(shape):
        word = f"probe{number:04d}text"
        message: Message = {"role": mark.role, "content": word if mark.text else ""}
        words.append([Word(word, _name(mark), once=True)] if mark.text else [])
        if mark.calls:
            message["tool_calls"] = []
        for kinds in mark.calls:
            call, of_call = _call(calls, kinds, ids[calls])
            message["tool_calls"].append(call)
            words[-1] += of_call
            calls += 1
        if mark.role == "tool":
            message["tool_call_id"] = ids[mark.answers] if mark.answers >= 0 else "unknown00"
        messages.append(message)
    return Probe(messages, words)


def _kinds(call: ToolCall) -> tuple[str, ...]:
    return tuple(sorted(set(_kinds_in(arguments(call["function"]["arguments"]).values(), ""))))


def _kinds_in(values: Iterable[Any], container: str) -> Iterator[str]:
    """The kinds of values, and of those in them with the kind of what they are in."""
    for value in values:
        kind = KINDS[type(value)]
        yield f"{container}>{kind}" if container else kind
        if isinstance(value, list | dict):
            yield from _kinds_in(value.values() if isinstance(value, dict) else value, kind)


def _call(number: int, kinds: tuple[str, ...], id_: str) -> tuple[ToolCall, list[Word]]:
    """A call with an argument of each of these kinds."""
    words = [f"probecall{number:04d}name"]
    values = {}
    for index, kind in enumerate(kinds):
        key, word = (f"probecall{number:04d}argument{index}{end}" for end in ("key", "value"))
        values[key] = _value(kind, word)
        words += [key, word] if kind.endswith("text") else [key]
    call: ToolCall = {"id": id_, "type": "function", "function": {"name": words[0], "arguments": json.dumps(values)}}
    return call, [Word(word, CALLS, once=False) for word in words]


def _value(kind: str, word: str) -> Any:
    container, _, inner = kind.rpartition(">")
    value = {"text": word, "number": 7, "bool": True, "null": None, "list": [], "object": {}}[inner]
    return {"": value, "list": [value], "object": {"key": value}}[container]


def _name(mark: Mark) -> str:
    names = {"system": "system prompts", "assistant": "responses before the last", "tool": CALLS}
    return "text next to tool calls" if mark.calls else names.get(mark.role, f"{mark.role} turns")
