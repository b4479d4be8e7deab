"""Rows of services, gateways, loggers and training sets, each read as it means."""

from __future__ import annotations

import json

import pytest
from recorded import AS, SY, A, Json, Q, S, U, lc, turns

from engine.dataset.formats import row
from engine.protocol.rows import Message
from engine.settings.schema import Columns
from tests.exports import WRITERS

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


@pytest.mark.parametrize("name", SAME)
def test_each_is_the_same_question_and_answer(name: str) -> None:
    assert turns(row.read(SAME[name], Columns()).messages) == [("user", Q), ("assistant", A)]


@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_the_system_prompt_is_found(name: str) -> None:
    expected = [("system", S), ("user", Q), ("assistant", A)]
    assert turns(row.read(WITH_SYSTEM[name], Columns()).messages) == expected


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
