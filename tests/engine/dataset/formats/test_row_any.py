"""Any chat that is written as an export is read back equal; any other record is refused or becomes a chat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.dataset.formats import row
from engine.dataset.record import RowError
from engine.protocol.rows import Message, message_text
from engine.settings.schema import Columns
from tests.exports import WRITERS, in_text

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
hostile = st.sampled_from(
    [
        "He said \"yes\", then 'no'.\r\nNew line\ttab",
        '[{"role": "user", "content": "x"}]',
        '{"role": "assistant", "content": "x"}',
        '{"choices": [{"message": {"content": "x"}}]}',
        "\u6771\u4eac\u306e\u5929\u6c17\u306f\uff1f \U0001f469\u200d\U0001f52c",
        "\x1b[2J\x07 \u2028 \u202e",
        "null",
        "0",
        "None",
        '"quoted"',
        "{",
        "a,b;c\td|e",
        "<image>",
        "</think",
    ]
)
spoken = (words | hostile).filter(lambda text: text.strip() and "think" not in text.replace("</think", ""))


@st.composite
def chats(draw: st.DrawFn) -> list[Message]:
    """Chats in the order that every API takes."""
    system = [Message(role="system", content=draw(spoken))] if draw(st.booleans()) else []
    turns = [(draw(spoken), draw(spoken)) for _ in range(draw(st.integers(1, 3)))]
    spoken_turns = [
        Message(role=role, content=text)
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    return [*system, *spoken_turns]


@pytest.mark.parametrize("name", WRITERS)
@given(chat=chats())
@example(chat=[Message(role="user", content="0"), Message(role="assistant", content="[]")])
def test_a_chat_written_as_an_export_is_read_back_equal(name: str, chat: list[Message]) -> None:
    record = WRITERS[name](chat)
    stored = json.loads(json.dumps(record))
    assert row.read(stored, Columns()).messages == chat
    assert row.read(in_text(record), Columns()).messages == chat


KEYS = (  # noqa: SIM905 - a list of words reads better
    "messages role content request body response choices message input output text parts contents candidates type lc "
    "kwargs tool_calls finish_reason error status custom_id id prompt completion conversations value from system"
).split()
keys = st.sampled_from(KEYS)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["user", "assistant", "message", "output_text", "[", '[{"role": "user", "content": "x"}]']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=14,
)  # fmt: skip


@given(anything)
def test_hostile_records_are_refused_or_become_a_chat(record: Any) -> None:
    try:
        found = row.read(record, Columns())
    except RowError as error:
        assert str(error)
        return
    assert any(message_text(message).strip() for message in found.messages[:-1])
    assert message_text(found.messages[-1]).strip()
    assert found.messages[-1]["role"] == "assistant"
    assert found.answers[-1] == len(found.messages) - 1
