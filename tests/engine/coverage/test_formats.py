from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import Columns
from engine.coverage.formats import RowError, category_of, check_table, to_messages

ANY = Columns()
USER = {"role": "user", "content": "Where is my parcel?"}
ASSISTANT = {"role": "assistant", "content": "shipping"}
SYSTEM = {"role": "system", "content": "Answer with one word."}
CHAT = [USER, ASSISTANT]
CHOICES = {"choices": [{"message": ASSISTANT, "finish_reason": "stop"}]}
REQUEST = {"model": "gpt-4o", "messages": [USER]}


def reason(record: Any, columns: Columns = ANY) -> str:
    with pytest.raises(RowError) as caught:
        to_messages(record, columns)
    return str(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        {"messages": CHAT},
        {"messages": CHAT, "tools": [], "prompt": "not this", "response": "nor this"},
        {"messages": json.dumps(CHAT)},
        {"prompt": USER["content"], "messages": CHAT, "prompt_id": "x", "seed_prompt": "", "category": "Classify"},
        {"instruction": USER["content"], "response": "shipping"},
        {"instruction": USER["content"], "input": "", "output": "shipping"},
        {"prompt": USER["content"], "completion": "shipping"},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"Question": USER["content"], " ANSWER ": "shipping"},
        {"request": REQUEST, "response": CHOICES},
        {**REQUEST, "response": CHOICES},
        {"messages": CHAT, "request": {"url": "/v1"}, "response": None},
        {"request": REQUEST, "response": "shipping"},
        {"request": REQUEST, "response": ASSISTANT},
        {"custom_id": "1", "body": REQUEST, "response": {"status_code": 200, "body": CHOICES}, "error": None},
        {"custom_id": "1", "request": {"method": "POST", "body": REQUEST}, "response": {"body": CHOICES}},
        {"input": {"messages": [USER]}, "output": "shipping"},
        {"input": [USER], "output": [ASSISTANT]},
        {"input": {"messages": [USER]}, "output": CHOICES},
        {"messages": [{**USER, "content": [{"type": "text", "text": USER["content"]}]}, ASSISTANT]},
        {"request": REQUEST, "response": {"role": "assistant", "content": [{"type": "text", "text": "shipping"}]}},
    ],
)
def test_every_format_gives_the_same_chat(record: dict[str, Any]) -> None:
    assert to_messages(record, ANY) == CHAT


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [SYSTEM, *CHAT]},
        {"messages": [{**SYSTEM, "role": "developer"}, *CHAT]},
        {"system": SYSTEM["content"], "messages": CHAT},
        {"system": SYSTEM["content"], "prompt": USER["content"], "response": "shipping"},
        {"request": {**REQUEST, "system": SYSTEM["content"]}, "response": CHOICES},
    ],
)
def test_system_prompts_come_first(record: dict[str, Any]) -> None:
    assert to_messages(record, ANY) == [SYSTEM, *CHAT]


def test_an_empty_system_prompt_is_left_out() -> None:
    assert to_messages({"system": " ", "messages": CHAT}, ANY) == CHAT
    assert to_messages({"messages": [{**SYSTEM, "content": ""}, *CHAT]}, ANY) == CHAT


@pytest.mark.parametrize(
    ("first", "second"), [("instruction", "input"), ("instruction", "context"), ("question", "context")]
)
def test_what_stands_beside_an_instruction_belongs_to_the_prompt(first: str, second: str) -> None:
    messages = to_messages({first: "Classify.", second: "Where is it?", "output": "shipping"}, ANY)
    assert messages[0]["content"] == "Classify.\n\nWhere is it?"


def test_an_input_by_itself_is_the_prompt() -> None:
    assert to_messages({"input": "Where is it?", "output": "shipping"}, ANY)[0]["content"] == "Where is it?"


def test_named_columns_win_over_what_would_be_found() -> None:
    record = {
        "messages": CHAT,
        "prompt": "no",
        "text": "Hi",
        "label": "greeting",
        "kind": "small talk",
        "sys": "Be nice",
    }
    columns = Columns(prompt="text", response="label", category="kind", system="sys")
    assert [m["content"] for m in to_messages(record, columns)] == ["Be nice", "Hi", "greeting"]
    assert category_of(record, columns) == "small talk"


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (0.5, "0.5"), (True, "true")])
def test_a_number_is_a_response(value: object, text: str) -> None:
    assert to_messages({"prompt": "How many?", "response": value}, ANY)[-1]["content"] == text


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert to_messages({"messages": [{"role": "user", "content": parts}, ASSISTANT]}, ANY)[0]["content"] == "a\nb"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ([], "not a JSON object but a list"),
        ("x", "not a JSON object but text"),
        (None, "not a JSON object but null"),
        ({}, "no column for the prompt; there are: none"),
        ({"text": "Hi", "label": 1}, "no column for the prompt; there are: 'text', 'label'"),
        ({"prompt": "Hi"}, "no column for the response; there are: 'prompt'"),
        ({"messages": []}, "no assistant turn at the end"),
        ({"messages": [USER]}, "no assistant turn at the end"),
        ({"messages": {"role": "user"}}, "messages is an object, not a list"),
        ({"messages": "Hi"}, "messages is text, not a list of messages"),
        ({"messages": ["Hi"]}, "a message is text, not an object"),
        ({"messages": [{"content": "Hi"}]}, "a message has no role"),
        ({"messages": [{"role": "human\x1b[2J", "content": "Hi"}]}, r"unknown role 'human\x1b[2J'"),
        ({"messages": [{"role": ["user"], "content": "Hi"}]}, "unknown role a list"),
        ({"messages": [ASSISTANT]}, "wrong role order: assistant where user should be (turn 1)"),
        ({"messages": [SYSTEM, ASSISTANT]}, "wrong role order: assistant where user should be (turn 1)"),
        ({"messages": [USER, *CHAT]}, "wrong role order: user where assistant should be (turn 2)"),
        ({"messages": [USER, SYSTEM, ASSISTANT]}, "wrong role order: system where assistant should be (turn 2)"),
        ({"messages": [{**USER, "content": " \n"}, ASSISTANT]}, "empty prompt"),
        ({"messages": [USER, {**ASSISTANT, "content": None}]}, "empty response"),
        ({"prompt": None, "response": "x"}, "empty prompt"),
        ({"prompt": "x", "response": float("nan")}, "empty response"),
        ({"prompt": "x", "response": {"label": "y"}}, "response is an object, not text"),
        ({"messages": [{**USER, "content": {}}, ASSISTANT]}, "content is an object, not text"),
        ({"messages": [{**USER, "content": "a\0b"}, ASSISTANT]}, "the user's text holds a NUL character"),
        (
            {"prompt": "x", "response": "\ud800"},
            "the assistant's text holds a lone surrogate or bytes that are not UTF-8",
        ),
        ({"messages": CHAT, "tools": [{"type": "function"}]}, "tool calls are not supported yet"),
        ({"messages": [USER, {**ASSISTANT, "tool_calls": [{}]}]}, "tool calls are not supported yet"),
        ({"messages": [USER, {"role": "tool", "content": "x"}, ASSISTANT]}, "tool calls are not supported yet"),
        ({"request": {**REQUEST, "tools": [{}]}, "response": CHOICES}, "tool calls are not supported yet"),
        ({"request": REQUEST, "response": None}, "no response to the request"),
        ({"request": REQUEST}, "no response to the request"),
        ({"request": {"model": "x"}, "response": CHOICES}, "no messages in the request"),
        ({"request": REQUEST, "response": {"choices": []}}, "no choices in the response"),
        ({**REQUEST, "response": {"choices": []}}, "no choices in the response"),
        (
            {"request": REQUEST, "response": {**ASSISTANT, "stop_reason": "max_tokens"}},
            "the response was cut (max_tokens)",
        ),
        ({"request": REQUEST, "response": {"choices": [{}]}}, "a message is null, not an object"),
        ({"request": REQUEST, "response": {"error": {"code": 429}}}, "the request failed"),
        (
            {"request": REQUEST, "response": {"choices": [{"message": ASSISTANT, "finish_reason": "length"}]}},
            "the response was cut (length)",
        ),
        (
            {"messages": [{**USER, "content": [{"type": "image_url", "image_url": {}}]}, ASSISTANT]},
            "content has a part that is not text ('image_url')",
        ),
    ],
)
def test_the_reason_says_what_is_wrong(record: Any, expected: str) -> None:
    assert reason(record) == expected


def test_an_unknown_named_column_lists_those_that_exist() -> None:
    columns = Columns(prompt="frage")
    assert reason({"prompt": "x", "response": "y"}, columns) == (
        "no column 'frage' (coverage.columns.prompt); there are: 'prompt', 'response'"
    )
    with pytest.raises(RowError, match="no column 'frage'"):
        check_table(("prompt", "response"), columns)


def test_a_table_of_messages_needs_no_prompt_column() -> None:
    check_table(("id", "messages"), ANY)
    with pytest.raises(RowError, match="no column for the prompt; there are: 'id', 'response'"):
        check_table(("id", "response"), ANY)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("Billing", "Billing"), (" a\n b\0", "a b"), (7, "7"), (["x"], ""), (None, ""), ("x" * 500, "x" * 100)],
)
def test_a_category_is_one_short_line(value: object, expected: str) -> None:
    assert category_of({"Category": value}, ANY) == expected


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["user", "assistant"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "role",
                    "content",
                    "request",
                    "body",
                    "response",
                    "choices",
                    "message",
                    "input",
                    "output",
                    "text",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything)
def test_hostile_records_are_refused_or_become_a_chat(record: Any) -> None:
    try:
        messages = to_messages(record, ANY)
    except RowError:
        return
    turns = [m["role"] for m in messages if m["role"] != "system"]
    assert turns == ["user", "assistant"] * (len(turns) // 2)
    assert all(isinstance(m["content"], str) and m["content"].strip() for m in messages)
