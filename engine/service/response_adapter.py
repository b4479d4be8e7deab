"""A service's answer to one request, as litellm hands it over: its text, its tokens and what they cost."""

from __future__ import annotations

import re
from typing import Any

from engine.protocol.rows import Message, ToolCall, message_text
from engine.service.ledger import Reply
from engine.service.tokens import most_tokens, prompt_bytes

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can hold and UTF-8 cannot."""

MOST_TOKENS = 10_000_000
"""More than any model takes or writes at once."""

REFUSAL = "refusal"
FILTERED = "content_filter"
"""How an answer ends that is none: the model declines, or the provider cuts it off."""


def read(answer: Any, request: dict[str, Any], prices: tuple[float, float] | None) -> Reply:
    """The reply in an answer that holds a choice, at USD for one input and one output token (None: unknown)."""
    choice, usage = answer.choices[0], answer.usage
    refusal = (choice.message.provider_specific_fields or {}).get("refusal")
    text = whole(refusal or _said(choice.message))
    prompt_tokens = _counted(usage.prompt_tokens, prompt_bytes(request) // 3 + 16)
    completion_tokens = _counted(usage.completion_tokens, most_tokens(text))
    prompt_price, completion_price = prices or (0.0, 0.0)
    return Reply(
        text=text,
        finish_reason=REFUSAL if refusal else whole(choice.finish_reason or "stop"),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=prompt_tokens * prompt_price + completion_tokens * completion_price,
    )


def _counted(tokens: int, ours: int) -> int:
    """What a service has counted; one that counts nothing, or nonsense, is booked by our own, generous count."""
    return tokens if 0 < tokens <= MOST_TOKENS else ours


def sendable(messages: list[Message]) -> list[Message]:
    """The messages of a request without half characters."""
    return [{**message, "content": whole(message["content"])} for message in messages]


def whole(text: str) -> str:
    """A text without half characters."""
    return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def headers(answer: Any) -> dict[str, str]:
    """The service's own headers; litellm keeps them aside, under names of its own."""
    kept = answer._hidden_params.get("additional_headers") or {}
    return {name.removeprefix("llm_provider-").lower(): str(value) for name, value in kept.items()}


def _said(message: Any) -> str:
    """What the assistant wrote, with its calls."""
    calls: list[ToolCall] = [
        {
            "id": "",
            "type": "function",
            "function": {"name": call.function.name or "", "arguments": call.function.arguments},
        }
        for call in message.tool_calls or []
    ]
    return message_text({"role": "assistant", "content": message.content or "", "tool_calls": calls})
