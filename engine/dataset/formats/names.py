"""The usual names of a record's fields, by their meaning."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from engine.dataset.formats.values import parsed

REQUEST = (
    "request",
    "request_body",
    "requestbody",
    "full_request",
    "proxy_server_request",
    "params",
    "modelinput",
    "body",
    "inputs",
    "input",
    "input_messages",
    "kwargs",
    "input_items",
    "gen_ai.input.messages",
    "llm.input_messages",
    "attributes.llm.input_messages",
    "attributes.gen_ai.input.messages",
    "datasource_item",
    "item",
)
"""Fields that hold a recorded request."""

REPLY = (
    "response",
    "response_body",
    "responsebody",
    "full_response",
    "modeloutput",
    "result",
    "outputs",
    "output",
    "output_message",
    "output_messages",
    "gen_ai.output.messages",
    "llm.output_messages",
    "attributes.llm.output_messages",
    "attributes.gen_ai.output.messages",
    "sample",
)
"""Fields that hold a recorded reply."""

INSTRUCTION = ("instruction",)
PROMPT = (
    "prompt",
    "question",
    "query",
    "prompts",
    "problem",
    "input",
    "text_input",
    "input_text",
    "inputtext",
    "inputs",
)
ANSWER = (
    "response",
    "completion",
    "output",
    "answer",
    "answers",
    "target",
    "assistant",
    "generation",
    "chosen",
    "preferred_output",
    "ideal",
    "output_text",
    "generated_text",
    "model_output",
    "text_output",
    "solution",
    "targets",
    "expectedoutput",
    "expected_output",
    "expected_response",
    "expected",
    "generations",
)
CONTEXT = (
    *("input", "context", "contexts", "question", "query", "dialogue", "dialog"),
    *("document", "documents", "passage", "passages", "article"),
)
"""Fields that belong to the prompt, next to an instruction or a question."""

HISTORY = ("history", "chat_history", "conversation_history", "previous_messages")
"""Fields with the turns before the question."""

OPTIONS = ("choices", "options")
"""Fields with the options of a question."""

GROUP = (
    "group",
    "conversation_id",
    "conversationid",
    "thread_id",
    "threadid",
    "session_id",
    "sessionid",
    "litellm_session_id",
    "helicone-session-id",
    "langfuse_session_id",
    "chat_id",
    "chatid",
    "dialog_id",
    "episode_id",
    "trace_id",
    "traceid",
)
"""Fields with the id of a conversation, the surest first."""

METADATA = ("metadata", "extra", "request_properties", "request", "request_body", "proxy_server_request")


USUAL = 200
"""Fields of a row whose names are remembered."""


@lru_cache(maxsize=256)
def known_names(fields: tuple[Any, ...]) -> Mapping[str, str]:
    """The names of fields without regard to case and white space around them, each with how it is written.

    The rows of a log have the same fields, or nearly so.
    """
    return {name.strip().casefold(): name for name in reversed(fields) if isinstance(name, str)}


@lru_cache(maxsize=4096)
def _present(fields: tuple[Any, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    known = known_names(fields)
    return tuple(name for name in names if name in known)


def _holds(value: Any) -> bool:
    return value is not None and value == value and value != ""


class Fields:
    """A record's fields by name, without regard to case and white space around it."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self._fields = tuple(record)
        # A row of hostile names must not stay in the caches.
        self._usual = len(self._fields) <= USUAL
        self.names = known_names(self._fields) if self._usual else known_names.__wrapped__(self._fields)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def get(self, name: str) -> Any:
        """A field's value, None where the record has no such field."""
        return self.record[self.names[name]] if name in self.names else None

    def present(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of these names that the record has, in their order."""
        if not self._usual:
            return tuple(name for name in names if name in self.names)
        return _present(self._fields, names)

    def first(self, names: tuple[str, ...]) -> str | None:
        """The first of these names that the record has, one that holds something if any does.

        Empty cells of a table hold nothing, while "0", "null" and false are values.
        """
        known = self.present(names)
        return next((name for name in known if _holds(self.get(name))), (*known, None)[0])

    def nested(self, names: tuple[str, ...]) -> Any:
        """The value under the first of these names that the record or its metadata have; None where they have none."""
        inner = [parsed(self.get(place)) for place in self.present(METADATA)]
        inner += [parsed(place.get("metadata")) for place in inner if isinstance(place, dict)]
        places = [self, *(Fields(place) for place in inner if isinstance(place, dict))]
        values = (place.get(name) for name in names for place in places if name in place)
        return next((value for value in values if _holds(value) and isinstance(value, str | int | float)), None)
