from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.formats import row
from engine.dataset.formats.parts import OWN_TOOLS
from engine.dataset.formats.row import Recorded
from engine.dataset.record import RowError
from engine.protocol.rows import message_text, prompt_id, prompt_text
from engine.settings.schema import Columns

USER = {"role": "user", "content": "Where is my parcel?"}
ASSISTANT = {"role": "assistant", "content": "shipping"}
CHAT = [USER, ASSISTANT]
CHOICES = {"choices": [{"message": ASSISTANT, "finish_reason": "stop"}]}
TRACK = {"name": "track", "arguments": '{"parcel": 7, "note": "ü"}'}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_9fX", "type": "function", "function": TRACK}]}
RESULT = {"role": "tool", "tool_call_id": "call_9fX", "content": "in Graz"}
PARAMETERS = {"type": "object", "properties": {"parcel": {"type": "integer"}}}
FUNCTION = {"name": "track", "description": "Finds it.", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": FUNCTION}
CALLED = [
    USER,
    {**CALL, "content": "", "tool_calls": [{"id": "call00001", "type": "function", "function": TRACK}]},
    {"role": "tool", "content": "in Graz", "tool_call_id": "call00001"},
    ASSISTANT,
]
USE = {"type": "tool_use", "id": "toolu_1", "name": "track", "input": {"parcel": 7, "note": "ü"}}
FOUND = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "in Graz"}]}
OLD_CALL = {"role": "assistant", "content": None, "function_call": TRACK}


def read(record: Any) -> Recorded:
    return row.read(record, Columns())


def reason(record: Any) -> str:
    with pytest.raises(RowError) as caught:
        read(record)
    return str(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [USER, CALL, RESULT, ASSISTANT], "tools": [TOOL]},
        {"messages": json.dumps([USER, CALL, RESULT, ASSISTANT]), "tools": json.dumps([TOOL])},
        {"messages": [USER, CALL, RESULT, ASSISTANT], "functions": [FUNCTION]},
        {"messages": [USER, CALL, RESULT, ASSISTANT], "tools": [FUNCTION]},
        {"messages": [USER, CALL, RESULT, ASSISTANT], "tools": json.dumps([FUNCTION])},
        {"messages": [USER, CALL, RESULT, ASSISTANT], "tools": [{"type": "function", **FUNCTION, "strict": True}]},
        {
            "messages": [USER, OLD_CALL, {"role": "function", "name": "track", "content": "in Graz"}, ASSISTANT],
            "functions": [FUNCTION],
        },
        {"request": {"messages": [USER, CALL, RESULT], "tools": [TOOL]}, "response": CHOICES},
        {"body": {"messages": [USER, CALL, RESULT], "tools": [TOOL]}, "response": {"body": CHOICES}},
        {"prompt": [USER, CALL, RESULT], "completion": [ASSISTANT], "tools": [TOOL]},
        {
            "request": {
                "messages": [USER, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [FOUND]}],
                "tools": [{"name": "track", "description": "Finds it.", "input_schema": PARAMETERS}],
            },
            "response": {"role": "assistant", "content": [{"type": "text", "text": "shipping"}]},
        },
        {  # Parquet makes all rows alike
            "messages": [USER, {**CALL, "tool_call_id": None}, {**RESULT, "tool_calls": None}, ASSISTANT],
            "tools": [
                {
                    **TOOL,
                    "function": {
                        **FUNCTION,
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
    found = read(record)
    assert found.messages == CALLED
    assert found.tools == [TOOL]


def test_tools_stay_where_columns_are_named() -> None:
    record = {"q": "Where is my parcel?", "a": "shipping", "tools": [TOOL]}
    assert row.read(record, Columns(prompt="q", response="a")).tools == [TOOL]


def test_tools_of_the_service_itself_are_left_out_and_told() -> None:
    found = read({"messages": CHAT, "tools": [TOOL, {"type": "web_search_preview"}, {"googleSearch": {}}]})
    assert found.tools == [TOOL]
    assert OWN_TOOLS in found.notes


def test_a_call_can_be_the_target() -> None:
    found = read({"request": {"messages": [USER]}, "response": {"choices": [{"message": CALL}]}})
    assert message_text(found.messages[-1]) == '{"name": "track", "arguments": {"parcel": 7, "note": "ü"}}'


def test_a_user_may_speak_beside_a_result() -> None:
    turn = {"role": "user", "content": [FOUND, {"type": "text", "text": "And now?"}]}
    found = read({"messages": [USER, {"role": "assistant", "content": [USE]}, turn, ASSISTANT]})
    assert [m["role"] for m in found.messages] == ["user", "assistant", "tool", "user", "assistant"]


def test_parallel_calls_may_be_answered_in_any_order_or_by_name() -> None:
    two = [{"name": name, "args": {"n": number}} for number, name in enumerate("ab")]
    contents = [
        {"role": "user", "parts": [{"text": "Both."}]},
        {"role": "model", "parts": [{"functionCall": call} for call in two]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": name, "response": {"result": name}}} for name in "ba"],
        },
        {"role": "model", "parts": [{"text": "Done."}]},
    ]
    messages = read({"contents": contents}).messages
    assert [(m["content"], m["tool_call_id"]) for m in messages[2:4]] == [("b", "call00002"), ("a", "call00001")]


def call(**function: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"id": "1", "function": function}]}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER, CALL, ASSISTANT], "tool call: it has no result"),
        ([USER, RESULT, ASSISTANT], "tool call: a result without its call"),
        ([USER, CALL, {**RESULT, "tool_call_id": "x"}, ASSISTANT], "tool call: a result without its call"),
        ([USER, CALL, RESULT, RESULT, ASSISTANT], "tool call: a result without its call"),
        ([USER, {**CALL, "tool_calls": [*CALL["tool_calls"], *CALL["tool_calls"]]}], "tool call: two have the same id"),
        ([USER, call(name="f", arguments="{")], "tool call: its arguments are not valid JSON"),
        ([USER, call(name="f", arguments="[1]")], "tool call: its arguments are not a JSON object"),
        ([USER, call(arguments="{}")], "tool call: it has no function name"),
        ([USER, call(name="f", arguments='{"a": "\\ud800"}')], "unusable text: a tool call contains a lone surrogate"),
        ([{**USER, "tool_calls": [{}]}, ASSISTANT], "tool call: in a message of the role user"),
        ([USER, {"role": "assistant", "tool_calls": "now"}], "tool definition: tool_calls is not a list"),
    ],
)  # fmt: skip
def test_calls_that_cannot_be_used_are_no_rows(messages: list[Any], expected: str) -> None:
    assert reason({"messages": messages}).startswith(expected)


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([{"type": "teleport"}], "tool definition: a tool is not a function ('teleport')"),
        (["track"], "tool definition: a tool is not a function"),
        ([{"type": "function", "function": {}}], "tool definition: a tool has no name"),
        ({"a": 1}, "tool definition: tools is not a list"),
        (
            [{**TOOL, "function": {"name": "f", "description": "\ud800"}}],
            "unusable text: a tool definition contains a lone surrogate",
        ),
        (
            [{"function": {"name": "f", "parameters": functools.reduce(lambda v, _: {"a": v}, range(99), {})}}],
            "tool definition: nested too deeply",
        ),
    ],
)
def test_tools_that_cannot_be_used_are_no_rows(tools: Any, expected: str) -> None:
    assert reason({"messages": CHAT, "tools": tools}).startswith(expected)


def test_two_requests_with_other_tools_are_two_prompts() -> None:
    ids = [prompt_id(read({"messages": CHAT}).messages[:1], tools) for tools in ([], [TOOL])] + [
        prompt_id(read({"messages": [USER, CALL, RESULT, ASSISTANT]}).messages[:-1], tools) for tools in ([], [TOOL])
    ]
    assert len(set(ids)) == 4


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
        found = read(record)
    except RowError:
        return
    assert prompt_text(found.messages, found.tools).encode()
    for message in found.messages:
        assert all(isinstance(json.loads(c["function"]["arguments"]), dict) for c in message.get("tool_calls", []))
