"""Rows of services, gateways, loggers and training sets, each read as it means."""

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


SAME: dict[str, Json] = {
    "langsmith dataset": {"inputs": {"question": Q}, "outputs": {"answer": A}},
    "langsmith dataset2": {"inputs": {"input": Q}, "outputs": {"output": A}},
    "gemini batch": {
        "key": "r1",
        "request": {"contents": [{"parts": [{"text": Q}], "role": "user"}]},
        "response": {"candidates": [{"content": {"parts": [{"text": A}], "role": "model"}, "finishReason": "STOP"}]},
    },
    "gemini no role": {
        "request": {"contents": [{"parts": [{"text": Q}]}]},
        "response": {"candidates": [{"content": {"parts": [{"text": A}]}, "finishReason": "STOP"}]},
    },
    "gemini contents text": {
        "request": {"contents": Q},
        "response": {"candidates": [{"content": {"parts": [{"text": A}]}, "finishReason": "STOP"}]},
    },
    "bedrock titan": {
        "modelInput": {"inputText": Q},
        "modelOutput": {"results": [{"outputText": A, "completionReason": "FINISH"}]},
    },
    "bedrock llama": {
        "modelInput": {"prompt": Q},
        "modelOutput": {"generation": A, "stop_reason": "stop", "prompt_token_count": 3},
    },
    "openrouter": {
        "request": {"model": "x", "messages": [U]},
        "response": {
            "choices": [
                {
                    "native_finish_reason": "stop",
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": A, "reasoning": "hm"},
                }
            ]
        },
    },
    "legacy completions": {
        "request": {"model": "x", "prompt": Q},
        "response": {"choices": [{"text": A, "index": 0, "finish_reason": "stop"}]},
    },
    "dpo chosen only list": {"prompt": [U], "chosen": [AS], "rejected": [AS]},
    "dpo full": {"chosen": [U, AS], "rejected": [U, {"role": "assistant", "content": "x"}]},
    "evals item": {"item": {"question": Q, "answer": A}},
    "distilabel": {"instruction": Q, "generation": A, "model_name": "x"},
    "sharegpt role": {"conversations": [{"role": "user", "content": Q}, {"role": "assistant", "content": A}]},
    "oasst": {"messages": [{"role": "prompter", "content": Q}, {"role": "assistant", "content": A}]},
    "ollama": {
        "request": {"model": "l", "messages": [U]},
        "response": {"model": "l", "message": {"role": "assistant", "content": A}, "done": True, "done_reason": "stop"},
    },
    "cohere": {
        "request": {"messages": [U]},
        "response": {
            "id": "x",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": A}]},
        },
    },
    "tgi": {"request": {"inputs": Q}, "response": {"generated_text": A, "details": {"finish_reason": "eos_token"}}},
    "langfuse output quoted": {"traceId": "t", "type": "GENERATION", "input": json.dumps([U]), "output": json.dumps(A)},
    "langfuse choices": {
        "traceId": "t",
        "input": json.dumps([U]),
        "output": json.dumps({"choices": [{"message": AS, "finish_reason": "stop"}]}),
    },
    "langfuse str in": {"traceId": "t", "input": Q, "output": A},
    "csv messages+response json": {
        "messages": json.dumps([U]),
        "response": json.dumps({"id": "c", "choices": [{"index": 0, "message": AS, "finish_reason": "stop"}]}),
    },
    "python repr": {"messages": str([U, AS])},
    "chunks": {
        "request": {"messages": [U]},
        "response": [
            {"choices": [{"delta": {"role": "assistant", "content": "ship"}}]},
            {"choices": [{"delta": {"content": "ping"}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {}},
        ],
    },
    "mistral think": {
        "prompt": Q,
        "response": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}, {"type": "text", "text": A}],
    },
    "es hit": {
        "_index": "x",
        "_source": {"request": {"messages": [U]}, "response": {"choices": [{"message": AS, "finish_reason": "stop"}]}},
    },
    "data flywheel": {
        "timestamp": 1,
        "client_id": "a",
        "workload_id": "b",
        "request": {"model": "m", "messages": [U]},
        "response": {"choices": [{"message": AS, "finish_reason": "stop"}]},
    },
    "status cancelled order": {"prompt": Q, "response": A, "status": "cancelled"},
    "level error classif": {"prompt": Q, "response": A, "level": "error"},
    "portkey": {
        "request": {"method": "POST", "url": "/v1", "body": {"messages": [U]}},
        "response": {"status": 200, "body": {"choices": [{"message": AS, "finish_reason": "stop"}]}},
    },
    "braintrust": {"input": [U], "output": A, "metadata": {}, "span_id": "1"},
    "mlflow": {
        "request": json.dumps({"messages": [U]}),
        "response": json.dumps({"choices": [{"message": AS, "finish_reason": "stop"}]}),
    },
    "wandb weave": {
        "inputs": {"messages": [U], "model": "m"},
        "output": {"choices": [{"message": AS, "finish_reason": "stop"}]},
    },
    "vercel": {
        "messages": [
            {"role": "user", "parts": [{"type": "text", "text": Q}]},
            {"role": "assistant", "parts": [{"type": "step-start"}, {"type": "text", "text": A}]},
        ]
    },
    "litellm std": {
        "id": "x",
        "call_type": "acompletion",
        "status": "success",
        "messages": [U],
        "response": {"choices": [{"message": AS, "finish_reason": "stop"}]},
        "model_parameters": {},
    },
    "group": {"prompt": Q, "response": A, "metadata": {"session_id": "s1"}},
    "helicone text": {
        "request_body": json.dumps({"messages": [U]}),
        "response_body": json.dumps({"choices": [{"message": AS, "finish_reason": "stop"}]}),
        "response_status": "200",
    },
    "logprobs null": {"messages": [U, AS], "choices": None, "error": None, "images": None},
    "kiln": {"input": Q, "output": {"output": A}},
}
"""Each is the same question and answer."""

WITH_SYSTEM: dict[str, Json] = {
    "langchain run": {
        "run_type": "llm",
        "inputs": {"messages": [[lc("SystemMessage", S), lc("HumanMessage", Q)]]},
        "outputs": {
            "generations": [
                [
                    {
                        "text": A,
                        "generation_info": {"finish_reason": "stop"},
                        "message": lc("AIMessage", A, response_metadata={"finish_reason": "stop"}),
                    }
                ]
            ]
        },
    },
    "langsmith msgs out": {"inputs": {"messages": [SY, U]}, "outputs": {"messages": [AS]}},
    "vertex": {
        "full_request": {
            "contents": [{"role": "user", "parts": [{"text": Q}]}],
            "systemInstruction": {"parts": [{"text": S}]},
        },
        "full_response": {
            "candidates": [{"content": {"role": "model", "parts": [{"text": A}]}, "finishReason": "STOP"}]
        },
    },
    "vertex text": {
        "full_request": json.dumps(
            {"contents": [{"role": "user", "parts": [{"text": Q}]}], "system_instruction": {"parts": [{"text": S}]}}
        ),
        "full_response": json.dumps(
            {"candidates": [{"content": {"role": "model", "parts": [{"text": A}]}, "finishReason": "STOP"}]}
        ),
    },
    "gemini tuning": {
        "systemInstruction": {"role": "system", "parts": [{"text": S}]},
        "contents": [{"role": "user", "parts": [{"text": Q}]}, {"role": "model", "parts": [{"text": A}]}],
    },
    "bedrock batch anth": {
        "recordId": "1",
        "modelInput": {
            "anthropic_version": "bedrock",
            "max_tokens": 10,
            "system": S,
            "messages": [{"role": "user", "content": [{"type": "text", "text": Q}]}],
        },
        "modelOutput": {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": A}],
            "stop_reason": "end_turn",
        },
    },
    "bedrock invocation log": {
        "schemaType": "ModelInvocationLog",
        "operation": "Converse",
        "input": {
            "inputContentType": "application/json",
            "inputBodyJson": {"messages": [{"role": "user", "content": [{"text": Q}]}], "system": [{"text": S}]},
        },
        "output": {
            "outputBodyJson": {
                "output": {"message": {"role": "assistant", "content": [{"text": A}]}},
                "stopReason": "end_turn",
            }
        },
    },
    "anth batch joined": {
        "custom_id": "1",
        "params": {"system": S, "messages": [U], "max_tokens": 5},
        "result": {
            "type": "succeeded",
            "message": {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "text", "text": A}],
                "stop_reason": "end_turn",
            },
        },
    },
    "preferred": {
        "input": {"messages": [SY, U], "tools": []},
        "preferred_output": [AS],
        "non_preferred_output": [{"role": "assistant", "content": "no"}],
    },
    "evals": {"input": [SY, U], "ideal": A},
    "sharegpt sys": {"system": S, "conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]},
    "ollama gen": {
        "request": {"model": "l", "prompt": Q, "system": S},
        "response": {"response": A, "done": True, "done_reason": "stop"},
    },
    "responses obj with input": {
        "object": "response",
        "id": "resp",
        "status": "completed",
        "instructions": S,
        "input": [U],
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": A}]}],
    },
    "responses batch": {
        "custom_id": "a",
        "method": "POST",
        "body": {"model": "m", "input": Q, "instructions": S},
        "response": {
            "status_code": 200,
            "body": {
                "object": "response",
                "status": "completed",
                "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": A}]}],
            },
        },
        "error": None,
    },
    "responses output text": {"model": "m", "instructions": S, "input": Q, "output": A},
    "langfuse msgs dict": {
        "traceId": "t",
        "input": {"messages": [SY, U], "tools": []},
        "output": {"role": "assistant", "content": A, "tool_calls": None},
    },
    "prompt+instruction": {"instruction": S, "prompt": Q, "response": A},
    "user assistant": {"system": S, "user": Q, "assistant": A},
    "full chat output": {"input": [SY, U], "output": [SY, U, AS]},
    "input object text": {
        "input": json.dumps({"messages": [SY, U]}),
        "output": json.dumps([{"type": "text", "text": A}]),
    },
}
"""Each is the same under a system prompt."""

REFUSED: dict[str, tuple[Json, str]] = {
    "langchain cut": (
        {
            "inputs": {"messages": [[lc("HumanMessage", Q)]]},
            "outputs": {
                "generations": [
                    [{"text": A, "generation_info": {"finish_reason": "length"}, "message": lc("AIMessage", A)}]
                ]
            },
        },
        "cut",
    ),
    "gemini blocked prompt": (
        {
            "request": {"contents": [{"parts": [{"text": Q}], "role": "user"}]},
            "response": {"promptFeedback": {"blockReason": "SAFETY"}},
        },
        "filtered",
    ),
    "bedrock titan cut": (
        {"modelInput": {"inputText": Q}, "modelOutput": {"results": [{"outputText": A, "completionReason": "LENGTH"}]}},
        "cut",
    ),
    "anth batch errored": (
        {
            "custom_id": "1",
            "params": {"messages": [U]},
            "result": {"type": "errored", "error": {"type": "invalid_request"}},
        },
        "failed",
    ),
    "anth batch expired": ({"custom_id": "1", "params": {"messages": [U]}, "result": {"type": "expired"}}, "failed"),
    "azure filter": (
        {
            "request": {"messages": [U]},
            "response": {
                "choices": [
                    {
                        "finish_reason": "content_filter",
                        "content_filter_results": {},
                        "message": {"role": "assistant", "content": ""},
                    }
                ]
            },
        },
        "filtered",
    ),
    "ollama cut": (
        {
            "request": {"model": "l", "messages": [U]},
            "response": {"message": {"role": "assistant", "content": A}, "done_reason": "length"},
        },
        "cut",
    ),
    "cohere max": (
        {
            "request": {"messages": [U]},
            "response": {
                "id": "x",
                "finish_reason": "MAX_TOKENS",
                "message": {"role": "assistant", "content": [{"type": "text", "text": A}]},
            },
        },
        "cut",
    ),
    "responses refusal": (
        {
            "request": {"input": Q, "model": "m"},
            "response": {
                "object": "response",
                "status": "completed",
                "output": [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
            },
        },
        "filtered",
    ),
    "responses prev": (
        {
            "request": {"input": Q, "model": "m", "previous_response_id": "x"},
            "response": {"object": "response", "output": []},
        },
        "no prompt",
    ),
    "inputs several": ({"inputs": {"question": Q, "profile": "u"}, "outputs": {"answer": A}}, "no prompt"),
    "only assistant": ({"messages": [AS]}, "no prompt"),
    "answer [] list": ({"prompt": "n?", "response": []}, "no answer"),
    "think cut": ({"prompt": Q, "response": "<think>x"}, "cut"),
    "row status 500": ({"prompt": Q, "response": A, "status_code": 500}, "failed"),
    "metadata finish": ({"prompt": Q, "response": A, "metadata": {"finish_reason": "length"}}, "cut"),
    "otel": ({"attributes": {"gen_ai.prompt.0.content": Q}}, "no prompt"),
    "image data": (
        {
            "request": {
                "contents": [
                    {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "x"}}, {"text": Q}]}
                ]
            },
            "response": A,
        },
        "image",
    ),
    "bedrock image": (
        {"messages": [{"role": "user", "content": [{"image": {"format": "png"}}, {"text": Q}]}, AS]},
        "image",
    ),
    "pdf": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}},
                        {"type": "text", "text": Q},
                    ],
                },
                AS,
            ]
        },
        "file",
    ),
}
"""Each has a reason of this kind."""

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


@pytest.mark.parametrize("name", SAME)
def test_each_is_the_same_question_and_answer(name: str) -> None:
    assert turns(row.read(SAME[name], Columns()).messages) == [("user", Q), ("assistant", A)]


@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_the_system_prompt_is_found(name: str) -> None:
    expected = [("system", S), ("user", Q), ("assistant", A)]
    assert turns(row.read(WITH_SYSTEM[name], Columns()).messages) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_is_refused_with_its_reason(name: str) -> None:
    record, kind = REFUSED[name]
    with pytest.raises(RowError) as caught:
        row.read(record, Columns())
    assert str(caught.value).startswith(kind)


@pytest.mark.parametrize("name", OTHER)
def test_turns_are_read_as_they_mean(name: str) -> None:
    record, expected = OTHER[name]
    assert turns(row.read(record, Columns()).messages) == expected


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_lead_into_objects_and_text(name: str) -> None:
    record, columns = COLUMNS[name]
    assert turns(row.read(record, Columns(**columns)).messages) == [("user", Q), ("assistant", A)]


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


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("openai", "OpenAI chat"),
        ("anthropic", "Anthropic Messages"),
        ("gemini", "Gemini"),
        ("litellm", "litellm spend logs"),
        ("langfuse", "Langfuse observations"),
        ("openai_batch", "batch"),
        ("sharegpt", "ShareGPT"),
    ],
)
def test_the_format_is_recognised(name: str, format_: str) -> None:
    chat = [Message(role="user", content=Q), Message(role="assistant", content=A)]
    assert row.read(WRITERS[name](chat), Columns()).format == format_


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([], "not an object: the row is a list"),
        ("x", "not an object: the row is text"),
        (None, "not an object: the row is null"),
        ({}, "no prompt: no column for the prompt; there are: none"),
        ({"text": "Hi", "label": 1}, "no prompt: no column for the prompt; there are: 'text', 'label'"),
        ({"user": "u", "label": "x"}, "no prompt: no column for the prompt; there are: 'user', 'label'"),
        ({"prompt": "Hi"}, "no answer: no column for the response; there are: 'prompt'"),
        ({"messages": [U]}, "no answer: the response is missing"),
        ({"messages": "Hi"}, "unreadable message: messages is text, not a list"),
        ({"messages": ["Hi"]}, "unreadable message: a message is text, not an object"),
        ({"messages": [{"content": "Hi"}]}, "unreadable message: a message has no role"),
        ({"messages": [{"role": "judge\x1b[2J", "content": "Hi"}]}, r"unknown role: 'judge\x1b[2J'"),
        ({"messages": [{**U, "content": " \n"}, AS]}, "no prompt: a turn of the user is empty"),
        ({"messages": [U, {**AS, "content": None}]}, "no answer: the response is empty"),
        ({"prompt": None, "response": "x"}, "no prompt: prompt is empty"),
        ({"prompt": "x", "response": float("nan")}, "no answer: the response is empty"),
        ({"prompt": "x", "response": ""}, "no answer: the response is empty"),
        ({"messages": [{**U, "content": {}}, AS]}, "unreadable message: the content has an unknown part (an object)"),
        ({"messages": [{**U, "content": "a\0b"}, AS]}, "unusable text: the user's text contains a NUL character"),
        (
            {"prompt": "x", "response": "\ud800"},
            "unusable text: the answer contains a lone surrogate or bytes that are not UTF-8",
        ),
        ({"request": {"messages": [U]}, "response": None}, "no answer: the response is missing"),
        ({"request": {"messages": [U]}, "response": {"choices": []}}, "no answer: the response has no choices"),
        ({"request": {"messages": [U]}, "response": {"choices": [{}]}}, "no answer: the response has no message"),
        ({"request": {"messages": [U]}, "response": {"error": {"code": 429}}}, "failed: error '429'"),
        ({"request": {"messages": [U]}, "response": "x", "error": "timeout"}, "failed: error 'timeout'"),
        ({"traceId": "t", "input": [U], "output": None, "level": "ERROR"}, "no answer: the call failed (level ERROR)"),
    ],
)  # fmt: skip
def test_the_reason_says_what_is_wrong(record: Any, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        row.read(record, Columns())
    assert str(caught.value) == reason
