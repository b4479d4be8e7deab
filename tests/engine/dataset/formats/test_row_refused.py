"""Rows that hold no answer to learn, each refused with its reason."""

from __future__ import annotations

from typing import Any

import pytest
from recorded import AS, A, Json, Q, U, lc

from engine.dataset.formats import row
from engine.dataset.record import RowError
from engine.settings.schema import Columns

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


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_is_refused_with_its_reason(name: str) -> None:
    record, kind = REFUSED[name]
    with pytest.raises(RowError) as caught:
        row.read(record, Columns())
    assert str(caught.value).startswith(kind)


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
