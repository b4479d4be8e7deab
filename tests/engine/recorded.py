"""One question and answer, as the records of tests hold it."""

from __future__ import annotations

import json
from typing import Any

from engine.protocol.rows import Message

Q, A, S = "Where is my parcel?", "shipping", "Answer in one word."
U = {"role": "user", "content": Q}
AS = {"role": "assistant", "content": A}
SY = {"role": "system", "content": S}
Json = dict[str, Any]


def lc(name: str, content: str, **more: Any) -> Json:
    """A message as LangChain writes it."""
    path = ["langchain", "schema", "messages", name]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": {"content": content, **more}}


def turns(messages: list[Message]) -> list[tuple[Any, ...]]:
    """Messages to compare: a turn with calls has them beside its text."""
    told: list[tuple[Any, ...]] = []
    for message in messages:
        calls = [call["function"] for call in message.get("tool_calls", [])]
        called = [(call["name"], json.loads(call["arguments"])) for call in calls]
        told.append((message["role"], (message["content"], called) if calls else message["content"]))
    return told
