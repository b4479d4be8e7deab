from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.formats import category_of, check_table, to_messages, tools_of
from engine.dataset.record import RowError
from engine.protocol.rows import message_text, prompt_id, prompt_text
from engine.settings.schema import Columns

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
        ({"messages": []}, "the last turn is not the assistant's"),
        ({"messages": [USER]}, "the last turn is not the assistant's"),
        ({"messages": {"role": "user"}}, "messages is an object, not a list"),
        ({"messages": "Hi"}, "messages is text, not a list of messages"),
        ({"messages": ["Hi"]}, "a message is text, not an object"),
        ({"messages": [{"content": "Hi"}]}, "a message has no role"),
        ({"messages": [{"role": "human\x1b[2J", "content": "Hi"}]}, r"unknown role 'human\x1b[2J'"),
        ({"messages": [{"role": ["user"], "content": "Hi"}]}, "unknown role a list"),
        ({"messages": [ASSISTANT]}, "wrong role order: assistant instead of user (turn 1)"),
        ({"messages": [SYSTEM, ASSISTANT]}, "wrong role order: assistant instead of user (turn 1)"),
        ({"messages": [USER, *CHAT]}, "wrong role order: user instead of assistant (turn 2)"),
        ({"messages": [USER, SYSTEM, ASSISTANT]}, "wrong role order: system instead of assistant (turn 2)"),
        ({"messages": [{**USER, "content": " \n"}, ASSISTANT]}, "empty prompt"),
        ({"messages": [USER, {**ASSISTANT, "content": None}]}, "empty response"),
        ({"prompt": None, "response": "x"}, "empty prompt"),
        ({"prompt": "x", "response": float("nan")}, "empty response"),
        ({"prompt": "x", "response": {"label": "y"}}, "response is an object, not text"),
        ({"messages": [{**USER, "content": {}}, ASSISTANT]}, "content is an object, not text"),
        ({"messages": [{**USER, "content": "a\0b"}, ASSISTANT]}, "the user's text contains a NUL character"),
        (
            {"prompt": "x", "response": "\ud800"},
            "the assistant's text contains a lone surrogate or bytes that are not UTF-8",
        ),
        ({"request": REQUEST, "response": None}, "no response to the request"),
        ({"request": REQUEST}, "no response to the request"),
        ({"request": {"model": "x"}, "response": CHOICES}, "no messages in the request"),
        ({"request": REQUEST, "response": {"choices": []}}, "no choices in the response"),
        ({**REQUEST, "response": {"choices": []}}, "no choices in the response"),
        (
            {"request": REQUEST, "response": {**ASSISTANT, "stop_reason": "max_tokens"}},
            "the response is truncated (max_tokens)",
        ),
        ({"request": REQUEST, "response": {"choices": [{}]}}, "a message is null, not an object"),
        ({"request": REQUEST, "response": {"error": {"code": 429}}}, "the request failed"),
        (
            {"request": REQUEST, "response": {"choices": [{"message": {"role": "assistant", "refusal": "No."}}]}},
            "the service refused to answer",
        ),
        (
            {"request": REQUEST, "response": {"choices": [{"message": ASSISTANT, "finish_reason": "length"}]}},
            "the response is truncated (length)",
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


TRACK = {"name": "track", "arguments": '{"parcel": 7, "note": "ü"}'}
PROXY = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_9fX", "type": "function", "function": TRACK}],
}
RESULT = {"role": "tool", "tool_call_id": "call_9fX", "content": "in Graz"}
PARAMETERS = {"type": "object", "properties": {"parcel": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "track", "description": "Finds it.", "parameters": PARAMETERS}}
CALLED = [
    USER,
    {**PROXY, "content": "", "tool_calls": [{"id": "call00001", "type": "function", "function": TRACK}]},
    {"role": "tool", "content": "in Graz", "tool_call_id": "call00001"},
    ASSISTANT,
]
USE = {"type": "tool_use", "id": "toolu_1", "name": "track", "input": {"parcel": 7, "note": "ü"}}
FOUND = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "in Graz"}]}
ANTHROPIC = {"name": "track", "description": "Finds it.", "input_schema": PARAMETERS}


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [USER, PROXY, RESULT, ASSISTANT], "tools": [TOOL]},
        {"messages": json.dumps([USER, PROXY, RESULT, ASSISTANT]), "tools": json.dumps([TOOL])},
        {"messages": [USER, PROXY, RESULT, ASSISTANT], "functions": [TOOL["function"]]},
        {"request": {"messages": [USER, PROXY, RESULT], "tools": [TOOL]}, "response": CHOICES},
        {"body": {"messages": [USER, PROXY, RESULT], "tools": [TOOL]}, "response": {"body": CHOICES}},
        {"prompt": [USER, PROXY, RESULT], "completion": [ASSISTANT], "tools": [TOOL]},
        {
            "request": {
                "messages": [USER, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [FOUND]}],
                "tools": [ANTHROPIC],
            },
            "response": {"role": "assistant", "content": [{"type": "text", "text": "shipping"}]},
        },
        {  # Parquet makes all rows alike
            "messages": [USER, {**PROXY, "tool_call_id": None}, {**RESULT, "tool_calls": None}, ASSISTANT],
            "tools": [
                {
                    **TOOL,
                    "function": {
                        **TOOL["function"],
                        "strict": None,
                        "parameters": {
                            "type": "object",
                            "properties": {"parcel": {"type": "integer", "enum": None}, "other": None},
                        },
                    },
                }
            ],
        },
    ],
)
def test_tools_calls_and_results_are_kept_in_one_form(record: dict[str, Any]) -> None:
    assert to_messages(record, ANY) == CALLED
    assert tools_of(record, ANY) == [TOOL]


def test_what_a_model_says_to_itself_is_no_part_of_its_answer() -> None:
    thought = {"type": "thinking", "thinking": "It is about a parcel.", "signature": "x"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    answer = {"role": "assistant", "content": [thought, hidden, {"type": "text", "text": "shipping"}]}

    assert to_messages({"request": {"messages": [USER]}, "response": answer}, ANY) == [USER, ASSISTANT]
    with pytest.raises(RowError, match="empty response"):
        to_messages({"request": {"messages": [USER]}, "response": {**answer, "content": [thought]}}, ANY)


def test_a_call_can_be_the_target() -> None:
    (_, target) = to_messages({"request": REQUEST, "response": {"choices": [{"message": PROXY}]}}, ANY)
    assert message_text(target) == '{"name": "track", "arguments": {"parcel": 7, "note": "ü"}}'


def test_a_user_may_speak_beside_a_result() -> None:
    turn = {"role": "user", "content": [FOUND, {"type": "text", "text": "And now?"}]}
    messages = to_messages({"messages": [USER, {"role": "assistant", "content": [USE]}, turn, ASSISTANT]}, ANY)
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "user", "assistant"]


def call(**function: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"id": "1", "function": function}]}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER, PROXY, ASSISTANT], "wrong role order: assistant instead of tool (turn 3)"),
        ([USER, RESULT, ASSISTANT], "wrong role order: tool instead of assistant (turn 2)"),
        ([USER, PROXY, {**RESULT, "tool_call_id": "x"}, ASSISTANT], "a tool result without its call"),
        ([USER, PROXY, RESULT, RESULT, ASSISTANT], "a tool result without its call"),
        ([USER, {**PROXY, "tool_calls": PROXY["tool_calls"] * 2}], "two tool calls with the same id"),
        ([USER, call(name="f", arguments="{")], "a tool call's arguments are not valid JSON"),
        ([USER, call(name="f", arguments="[1]")], "a tool call's arguments are not a JSON object"),
        ([USER, call(arguments="{}")], "a tool call has no function name"),
        ([USER, call(name="f", arguments='{"a": "\\ud800"}')], "a tool call contains a lone surrogate"),
        ([{**USER, "tool_calls": [{}]}, ASSISTANT], "a tool call in a user message"),
        (
            [USER, {**ASSISTANT, "function_call": {"name": "f"}}],
            "function_call is not supported: record the request with",
        ),
        ([USER, {"role": "function", "content": ""}, ASSISTANT], "function_call is not supported: record the request"),
        ([USER, {"role": "assistant", "tool_calls": "now"}], "tool_calls is text, not a list"),
    ],
)
def test_calls_that_cannot_be_used_are_no_rows(messages: list[Any], expected: str) -> None:
    assert reason({"messages": messages}).startswith(expected)


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([{"type": "web_search"}], "a tool is not a function ('web_search')"),
        (["track"], "a tool is not a function"),
        ([{"type": "function", "function": {}}], "a tool has no name"),
        ("hammer", "tools is text, not a list"),
        ({"a": 1}, "tools is not a list"),
        ([{**TOOL, "function": {"name": "f", "description": "\ud800"}}], "a tool definition contains a lone surrogate"),
        (
            [{"function": {"name": "f", "parameters": functools.reduce(lambda v, _: {"a": v}, range(99), {})}}],
            "a tool is nested",
        ),
    ],
)
def test_tools_that_cannot_be_used_are_no_rows(tools: Any, expected: str) -> None:
    with pytest.raises(RowError) as caught:
        tools_of({"messages": CHAT, "tools": tools}, ANY)
    assert str(caught.value).startswith(expected)


def test_two_requests_with_other_tools_are_two_prompts() -> None:
    plain = prompt_id(CHAT[:1])
    assert plain == "d3f3291dc7f61d5a"
    assert len({plain, prompt_id(CHAT[:1], [TOOL]), prompt_id(CALLED[:-1], [TOOL]), prompt_id(CALLED[:-1])}) == 4


tool_turns = st.recursive(
    st.none()
    | st.text(max_size=3)
    | st.integers()
    | st.sampled_from(["f", "{}", "1", "tool_use", "tool_result", "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "type", "function", "name", "arguments", "input", "text", "content", "tool_use_id"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(tool_turns, tool_turns, tool_turns, tool_turns)
def test_hostile_calls_are_refused_or_can_be_sent_and_shown(called: Any, result: Any, spoken: Any, tools: Any) -> None:
    turns = [
        USER,
        {"role": "assistant", "content": spoken, "tool_calls": called},
        {"role": "tool", "content": result, "tool_call_id": "1"},
        {"role": "user", "content": result},
        ASSISTANT,
    ]
    record = {"messages": [turn for turn in turns if turn["role"] != "tool" or called], "tools": tools}
    try:
        messages, defined = to_messages(record, ANY), tools_of(record, ANY)
    except RowError:
        return
    assert prompt_text(messages, defined).encode()
    for message in messages:
        assert all(isinstance(json.loads(c["function"]["arguments"]), dict) for c in message.get("tool_calls", []))
