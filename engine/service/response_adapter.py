"""From litellm's response to a completion: its text, its tokens and what they cost."""

from __future__ import annotations

import re
from typing import Any

from engine.protocol.rows import Message, ToolCall, message_text
from engine.service.ledger import Completion
from engine.service.tokens import max_tokens_of, prompt_bytes

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can hold and UTF-8 cannot."""

MAX_TOKENS = 10_000_000
"""More than any model reads or writes at once."""

REFUSAL = "refusal"
FILTERED = "content_filter"
"""The finish reasons of a completion without content: the model declines, or the provider cuts it off."""


def completion_of(response: Any, request: dict[str, Any], prices: tuple[float, float] | None) -> Completion:
    """The completion in a response with a choice, at USD for one input and one output token (None: unknown)."""
    choice, usage = response.choices[0], response.usage
    refusal = (choice.message.provider_specific_fields or {}).get("refusal")
    text = replace_surrogates(refusal or _text(choice.message))
    prompt_tokens = _plausible(usage.prompt_tokens, prompt_bytes(request) // 3 + 16)
    completion_tokens = _plausible(usage.completion_tokens, max_tokens_of(text))
    prompt_price, completion_price = prices or (0.0, 0.0)
    return Completion(
        text=text,
        finish_reason=REFUSAL if refusal else replace_surrogates(choice.finish_reason or "stop"),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=prompt_tokens * prompt_price + completion_tokens * completion_price,
    )


def response_headers(response: Any) -> dict[str, str]:
    """The service's headers; litellm keeps them aside, under names with a prefix."""
    kept = response._hidden_params.get("additional_headers") or {}
    return {name.removeprefix("llm_provider-").lower(): str(value) for name, value in kept.items()}


def without_surrogates(messages: list[Message]) -> list[Message]:
    """The messages of a request without half characters."""
    return [{**message, "content": replace_surrogates(message["content"])} for message in messages]


def replace_surrogates(text: str) -> str:
    """A text without half characters."""
    return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _plausible(counted: int, estimate: int) -> int:
    """The service's token count, or our generous estimate where the service counts nothing or nonsense."""
    return counted if 0 < counted <= MAX_TOKENS else estimate


def _text(message: Any) -> str:
    """The assistant's text, with its calls."""
    calls: list[ToolCall] = [
        {
            "id": "",
            "type": "function",
            "function": {"name": call.function.name or "", "arguments": call.function.arguments},
        }
        for call in message.tool_calls or []
    ]
    return message_text({"role": "assistant", "content": message.content or "", "tool_calls": calls})
