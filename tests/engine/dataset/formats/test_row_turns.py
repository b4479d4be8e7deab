"""Rows with several turns, tools, thoughts, parts and columns of their own, each read as it means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recorded import AS, SY, A, Json, Q, S, U, lc, turns

from engine.dataset.formats import row
from engine.dataset.record import RowError
from engine.settings.schema import Columns

OTHER: dict[str, tuple[Json, list[tuple[Any, ...]]]] = {
    "langchain tools": (
        {
            "run_type": "llm",
            "inputs": {"messages": [[lc("HumanMessage", Q)]]},
            "outputs": {
                "generations": [
                    [{"message": lc("AIMessage", "", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "x"}])}]
                ]
            },
            "extra": {
                "invocation_params": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}
            },
        },
        [("user", Q), ("assistant", ("", [("f", {"a": 1})]))],
    ),
    "gemini tools": (
        {
            "request": {
                "contents": [
                    {"role": "user", "parts": [{"text": Q}]},
                    {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
                    {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "Graz"}}}]},
                ],
                "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
            },
            "response": {
                "candidates": [{"content": {"parts": [{"text": A}], "role": "model"}, "finishReason": "STOP"}]
            },
        },
        [("user", Q), ("assistant", ("", [("f", {"a": 1})])), ("tool", "Graz"), ("assistant", A)],
    ),
    "bedrock tool": (
        {
            "request": {
                "messages": [
                    {"role": "user", "content": [{"text": Q}]},
                    {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}}]},
                    {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"json": {"x": 1}}]}}]},
                ],
                "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]},
            },
            "response": {
                "output": {"message": {"role": "assistant", "content": [{"text": A}]}},
                "stopReason": "end_turn",
            },
        },
        [("user", Q), ("assistant", ("", [("f", {"a": 1})])), ("tool", '{"x": 1}'), ("assistant", A)],
    ),
    "sharegpt tools": (
        {
            "conversations": [
                {"from": "human", "value": Q},
                {"from": "function_call", "value": json.dumps({"name": "f", "arguments": {"a": 1}})},
                {"from": "observation", "value": "r"},
                {"from": "gpt", "value": A},
            ],
            "tools": json.dumps([{"name": "f", "parameters": {}}]),
        },
        [("user", Q), ("assistant", ("", [("f", {"a": 1})])), ("tool", "r"), ("assistant", A)],
    ),
    "xlam": (
        {
            "query": Q,
            "tools": json.dumps([{"name": "f", "description": "d", "parameters": {"a": {"type": "int"}}}]),
            "answers": json.dumps([{"name": "f", "arguments": {"a": 1}}]),
        },
        [("user", Q), ("assistant", ("", [("f", {"a": 1})]))],
    ),
    "responses call": (
        {
            "request": {
                "instructions": S,
                "input": Q,
                "model": "m",
                "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search_preview"}],
            },
            "response": {
                "object": "response",
                "status": "completed",
                "output": [
                    {"type": "reasoning", "id": "r"},
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
                ],
            },
        },
        [("system", S), ("user", Q), ("assistant", ("", [("f", {"a": 1})]))],
    ),
    "responses hist": (
        {
            "request": {
                "instructions": S,
                "input": [
                    U,
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
                    {"type": "function_call_output", "call_id": "c", "output": "r"},
                ],
                "model": "m",
            },
            "response": {
                "object": "response",
                "status": "completed",
                "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": A}]}],
            },
        },
        [("system", S), ("user", Q), ("assistant", ("", [("f", {"a": 1})])), ("tool", "r"), ("assistant", A)],
    ),
    "system last": ({"messages": [U, SY, AS]}, [("user", Q), ("system", S), ("assistant", A)]),
    "question+context": ({"instruction": "I", "question": Q, "output": A}, [("user", "I\n\n" + Q), ("assistant", A)]),
    "answer choices task": (
        {"prompt": Q, "response": json.dumps({"choices": [{"text": "a", "correct": True}]})},
        [("user", Q), ("assistant", json.dumps({"choices": [{"text": "a", "correct": True}]}))],
    ),
    "answer err task": (
        {"prompt": Q, "response": '{"error": "none", "code": 3}'},
        [("user", Q), ("assistant", '{"error": "none", "code": 3}')],
    ),
    "answer messages task": (
        {"prompt": Q, "response": '{"messages": ["a","b"]}'},
        [("user", Q), ("assistant", '{"messages": ["a","b"]}')],
    ),
    "answer none": ({"prompt": "Is it?", "response": "None"}, [("user", "Is it?"), ("assistant", "None")]),
    "answer 0": ({"prompt": "n?", "response": 0}, [("user", "n?"), ("assistant", "0")]),
    'answer "0"': ({"prompt": "n?", "response": "0"}, [("user", "n?"), ("assistant", "0")]),
    "answer false": ({"prompt": "n?", "response": False}, [("user", "n?"), ("assistant", "false")]),
    "answer []": ({"prompt": "n?", "response": "[]"}, [("user", "n?"), ("assistant", "[]")]),
    "prompt 0": ({"prompt": "0", "response": "x"}, [("user", "0"), ("assistant", "x")]),
    "think mid": (
        {"prompt": Q, "response": "Use <think>x</think> tags"},
        [("user", Q), ("assistant", "Use <think>x</think> tags")],
    ),
    "two assistants": ({"messages": [U, AS, AS]}, [("user", Q), ("assistant", A), ("assistant", A)]),
    "anthropic hist tool text": (
        {
            "request": {
                "messages": [
                    U,
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "text", "text": "x"},
                            {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                        ],
                    },
                    {
                        "role": "user",
                        "content": [
                            {"type": "tool_result", "tool_use_id": "a", "content": "r"},
                            {"type": "text", "text": "and?"},
                        ],
                    },
                ]
            },
            "response": {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "text", "text": A}],
                "stop_reason": "end_turn",
            },
        },
        [("user", Q), ("assistant", ("x", [("f", {})])), ("tool", "r"), ("user", "and?"), ("assistant", A)],
    ),
}
"""Each with its turns."""

COLUMNS: dict[str, tuple[Json, dict[str, str]]] = {
    "columns on json": ({"a": json.dumps([U]), "b": json.dumps(AS)}, {"prompt": "a", "response": "b"}),
    "columns messages dotted": (
        {"request": {"body": {"messages": [U]}}, "x": {"out": A}},
        {"messages": "request.body.messages", "response": "x.out"},
    ),
    "columns dotted inputs": (
        {"inputs": {"question": Q, "user": "u"}, "outputs": {"x": A}},
        {"prompt": "inputs.question", "response": "outputs.x"},
    ),
    "columns in text": (
        {"inputs": json.dumps({"question": Q}), "outputs": json.dumps({"x": A})},
        {"prompt": "inputs.question", "response": "outputs.x"},
    ),
    "promptfoo": (
        {"prompt": {"raw": Q, "label": "x"}, "response": {"output": A}},
        {"prompt": "prompt.raw", "response": "response.output"},
    ),
}
"""Each is the same question and answer by columns that the settings name."""


@pytest.mark.parametrize("name", OTHER)
def test_turns_are_read_as_they_mean(name: str) -> None:
    record, expected = OTHER[name]
    assert turns(row.read(record, Columns()).messages) == expected


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_lead_into_objects_and_text(name: str) -> None:
    record, columns = COLUMNS[name]
    assert turns(row.read(record, Columns(**columns)).messages) == [("user", Q), ("assistant", A)]


def test_several_answers_are_told_and_listed() -> None:
    read = row.read({"messages": [U, AS, U, AS]}, Columns())
    assert read.answers == [1, 3]
    assert read.notes == {row.SEVERAL}
    assert row.read({"request": {"messages": [U, AS, U]}, "response": A}, Columns()).notes == set()


def test_an_answer_of_weight_0_is_context_only() -> None:
    unsure = {"role": "assistant", "content": "Not sure.", "weight": 0}
    read = row.read({"messages": [U, unsure, U, AS]}, Columns())
    assert read.answers == [3]
    assert len(row.read({"messages": [U, AS, U, unsure]}, Columns()).messages) == 2
    with pytest.raises(RowError, match="not to learn"):
        row.read({"messages": [U, unsure]}, Columns())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Billing", "Billing"), (" a\n b\0", "a b"), (7, "7"), (2.0, "2"), (["x"], ""), (None, ""), (True, "true"),
        (float("nan"), ""), ("x" * 500, "x" * 100),
    ],
)  # fmt: skip
def test_a_category_is_one_short_line(value: object, expected: str) -> None:
    assert row.read({"prompt": Q, "response": A, "Category": value}, Columns()).category == expected


@pytest.mark.parametrize(
    ("record", "group"),
    [
        ({"session_id": "s"}, "s"),
        ({"sessionId": 7, "traceId": "t"}, "7"),
        ({"metadata": {"conversation_id": "c"}}, "c"),
        ({"metadata": '{"thread_id": "c"}'}, "c"),
        ({"session_id": None, "trace_id": "t"}, "t"),
        ({}, ""),
    ],
)
def test_the_id_of_a_conversation_is_found(record: Json, group: str) -> None:
    assert row.read({"prompt": Q, "response": A, **record}, Columns()).group == group


def test_optional_columns_may_be_missing() -> None:
    columns = Columns(category="meta.kind", group="meta.who", system="sys")
    read = row.read({"prompt": Q, "response": A, "meta": {"kind": "k", "who": 3}}, columns)
    assert (read.category, read.group) == ("k", "3")
    assert row.read({"prompt": Q, "response": A}, columns).category == ""
