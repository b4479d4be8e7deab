"""One record of a coverage dataset as a chat: what was asked, what was answered, and what goes with it.

By the first that fits: the columns named in the settings · a chat (`messages` and its other names), alone or beside a
reply · a recorded request with its reply · a prompt and a response under their usual names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.dataset.formats import exchange, tools
from engine.dataset.formats.exchange import SEVERAL
from engine.dataset.formats.names import GROUP, Fields
from engine.dataset.formats.nesting import unflattened
from engine.dataset.formats.recognise import format_name
from engine.dataset.formats.turns import Turn
from engine.dataset.formats.values import as_number, at, cleaned, is_nothing, kind, parsed
from engine.dataset.record import RowError
from engine.protocol.rows import Message, Tool
from engine.settings.schema import Columns

MAX_NAME = 100
"""Characters of a category, and of a conversation's id."""

ENVELOPES = ("_source", "jsonpayload", "json_payload", "signed_body", "@message")
"""Fields in which log stores wrap what was logged."""

REDACTED = "redacted-by-litellm"

TRACED = ("gen_ai.", "llm.")
"""How fields of traces (OpenTelemetry, OpenInference) begin that hold messages."""

MEDIA = (
    *("image", "images", "image_url", "image_urls", "image_path", "image_paths", "attachments"),
    *("audio", "audios", "video", "videos"),
)
"""Fields that hold what a prompt is about, and that no text can stand for."""

NOT_CALLS = frozenset(
    {"tool", "retriever", "embedding", "event", "evaluator", "guardrail", "parser", "prompt", "embeddings"}
)
"""Kinds of steps that tracers log and that no model answered."""

OTHER_CALLS = ("embedding", "moderation", "image", "speech", "transcription", "rerank")
"""Words in the types of calls (litellm) that are no chats."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record's chat, with the positions of the answers in it that may be learned, first to last.

    `group` is the id of its conversation, "" where it has none; `format` what it was recognised as; `notes` are
    sentences that are worth knowing about it.
    """

    messages: list[Message]
    answers: list[int]
    tools: list[Tool]
    category: str
    group: str
    format: str
    notes: set[str] = field(default_factory=set)


def read(record: Any, columns: Columns) -> Recorded:
    """The chat of a record. Raises RowError with the reason why the record cannot be used."""
    if not isinstance(record, dict):
        raise RowError(f"not an object: the row is {kind(record)}")
    row = Fields(_opened(record))
    notes: set[str] = set()
    _check_row(row, columns)
    found = exchange.find(row, columns, notes)
    chat, answers = _chat(found.turns)
    if len(answers) == 1:
        notes.discard(SEVERAL)
    return Recorded(
        messages=chat,
        answers=answers,
        tools=found.tools,
        category=_category(row, columns),
        group=_group(row, columns),
        format=format_name(row, *found.apis),
        notes=notes,
    )


def _opened(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was logged, without the envelope of a log store and without dots that flatten objects."""
    fields = Fields(record)
    names = [*fields.present(ENVELOPES)]
    if isinstance(fields.get("message"), str) and "timestamp" in fields:  # CloudWatch
        names.append("message")
    inner = next((parsed(fields.get(name)) for name in names), None)
    attributes = parsed(fields.get("attributes"))
    if isinstance(attributes, dict):
        inner = _traced(record, attributes) or inner
    return unflattened(inner if isinstance(inner, dict) else record)


def _traced(record: Mapping[str, Any], attributes: dict[str, Any]) -> dict[str, Any] | None:
    """A span with the messages that stand among its attributes, be they nested or not."""
    for name in ("llm", "gen_ai"):
        if isinstance(inner := attributes.get(name), dict):
            attributes = {**attributes, **{f"{name}.{field}": value for field, value in inner.items()}}
    if any(isinstance(name, str) and name.startswith(TRACED) for name in attributes):
        return {**record, **attributes}
    return None


def _check_row(row: Fields, columns: Columns) -> None:
    """Raise RowError for a row that is no answer to learn, by what stands beside its texts."""
    weight = at(row.record, columns.weight)[1] if columns.weight is not None else row.get("weight")
    if as_number(weight) == 0:
        raise RowError("not to learn: its weight is 0")
    for name in row.present(MEDIA):
        if not is_nothing(parsed(row.get(name))):
            raise RowError(f"{name.partition('_')[0].rstrip('s')}: the row has more than text ({name!r})")
    if step := _other_step(row):
        raise RowError(f"not a call: the row has the type {cleaned(step, 30)}")


def _other_step(row: Fields) -> str:
    """The type of a traced step that no model answered, or of a call for something else than text; "" for any other."""
    traced = any(name in row for name in ("traceid", "trace_id", "span_id", "run_type"))
    attributes = parsed(row.get("span_attributes"))
    types = [
        row.get("run_type"),
        row.get("observation_type"),
        row.get("type") if traced and str(row.get("type")).isupper() else None,
    ]
    types.append(attributes.get("type") if isinstance(attributes, dict) else None)
    step = next((type_ for type_ in types if isinstance(type_, str) and type_.casefold() in NOT_CALLS), "")
    call = row.get("call_type")
    return step or (call if isinstance(call, str) and any(word in call for word in OTHER_CALLS) else "")


def _chat(read_turns: list[Turn]) -> tuple[list[Message], list[int]]:
    """The messages up to the last answer to learn, and the positions of all answers to learn. Raises RowError."""
    kept = [turn for turn in read_turns if turn.message["role"] != "system" or turn.message["content"].strip()]
    messages = [turn.message for turn in kept]
    if not messages or messages[-1]["role"] != "assistant":
        raise RowError("no answer: the last turn is not the assistant's")
    if not _says(messages[-1]):
        raise RowError("no answer: the response is empty")
    if any(turn["role"] == "user" and not turn["content"].strip() for turn in messages):
        raise RowError("no prompt: a turn of the user is empty")
    tools.renumber(messages)
    answers = [number for number, turn in enumerate(kept) if _is_answer(turn) and number > 0]
    if not answers:
        raise RowError("no prompt: the chat is an answer alone" if kept[-1].learn else "not to learn: its weight is 0")
    if any(message["content"] == REDACTED for message in messages):
        raise RowError("no prompt: the gateway did not log the texts")
    if not any(map(_says, messages[: answers[-1]])):
        raise RowError("no prompt: no turn before the answer has a text")
    return messages[: answers[-1] + 1], answers


def _is_answer(turn: Turn) -> bool:
    return turn.learn and turn.message["role"] == "assistant" and _says(turn.message)


def _says(message: Message) -> bool:
    """Whether a message has a text or a call."""
    return bool(message["content"].strip()) or "tool_calls" in message


def _category(row: Fields, columns: Columns) -> str:
    """The category of a record in one short line; "" where it has none."""
    value = at(row.record, columns.category)[1] if columns.category is not None else row.get("category")
    if value is None or value != value or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return cleaned(str(value).lower() if isinstance(value, bool) else str(value), MAX_NAME)


def _group(row: Fields, columns: Columns) -> str:
    """The id of a record's conversation; "" where it has none."""
    names = tuple(name for name in GROUP if name != "session_id") if "run_type" in row else GROUP  # LangSmith's project
    value = at(row.record, columns.group)[1] if columns.group is not None else row.nested(names)
    if value is None or value != value or value == "" or not isinstance(value, str | int | float):
        return ""
    return cleaned(str(value), MAX_NAME)
