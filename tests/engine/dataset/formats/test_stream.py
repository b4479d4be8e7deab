from __future__ import annotations

import json
from typing import Any

import pytest

from engine.dataset.formats import stream
from engine.dataset.record import RowError


def chunk(text: str | None, reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason}]}


ANTHROPIC = [
    {"type": "message_start", "message": {}},
    {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "On the "}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hook."}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
]
GEMINI = [
    {"candidates": [{"content": {"parts": [{"text": "On the "}]}}]},
    {"candidates": [{"content": {"parts": [{"text": "hook."}]}, "finishReason": "STOP"}], "usageMetadata": {}},
]
OLLAMA = [{"message": {"content": "On the "}, "done": False}, {"message": {"content": "hook."}, "done": True}]


@pytest.mark.parametrize(
    "value",
    [
        [chunk("On the "), chunk("hook."), chunk(None, "stop"), {"choices": [], "usage": {}}],
        [chunk("On the "), chunk("no", index=1), chunk("hook.", "stop")],
        "data: " + json.dumps(chunk("On the hook.", "stop")) + "\n\ndata: [DONE]\n\n",
        chunk("On the hook.", "stop"),
        ANTHROPIC,
        GEMINI,
        OLLAMA,
    ],
)
def test_pieces_are_put_together(value: Any) -> None:
    found = stream.pieces(value)
    assert found is not None
    assert stream.text(found, set()) == "On the hook."


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([chunk("On the ")], "cut: the stream has no end"),
        ([chunk("On the ", "length")], "cut: finish_reason 'length'"),
        (ANTHROPIC[:-1], "cut: the stream has no end"),
        (OLLAMA[:1] * 2, "cut: the stream has no end"),
        (GEMINI[:1], "cut: the stream has no end"),
        ([{"candidates": [{"content": {"parts": [{"text": "Hel"}]}, "finish_reason": 2}]}], "cut: finish_reason 2"),
        ([*OLLAMA[:1], {"message": {"content": "", "tool_calls": [{}]}, "done": True}], stream.TOOLS),
        ([{"choices": [{"delta": {"tool_calls": [{}]}, "finish_reason": "stop"}]}], stream.TOOLS),
    ],
)
def test_a_stream_without_its_end_is_no_answer(value: Any, reason: str) -> None:
    found = stream.pieces(value)
    assert found is not None
    with pytest.raises(RowError) as caught:
        stream.text(found, set())
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [],
        [1],
        [{"a": 1}],
        {"choices": []},
        [{"candidates": 3}],
        [{"candidates": {}, "usageMetadata": {}}],
        "data: x",
    ],
)
def test_anything_else_is_no_stream(value: Any) -> None:
    assert stream.pieces(value) is None
