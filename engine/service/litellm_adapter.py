"""Between litellm and our records: a request as its arguments, a completion from its response."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from engine.protocol.rows import Message, ToolCall, message_text
from engine.service.completion import Completion, Request, max_tokens_of
from engine.service.models import endpoint, litellm_name, load_litellm
from engine.settings.schema import Service

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can hold and UTF-8 cannot."""

MAX_TOKENS = 10_000_000
"""More than any model reads or writes at once."""

REFUSAL = "refusal"
FILTERED = "content_filter"
"""The finish reasons of a completion without content: the model declines, or the provider cuts it off."""


def completion_arguments(request: Request, settings: Service, sandbox_base: str | None) -> dict[str, Any]:
    """A request as the arguments of `litellm.acompletion`, which is to try once."""
    return {
        "model": litellm_name(request.model),
        "messages": _without_surrogates(request.messages),
        "timeout": settings.timeout_s,
        "num_retries": 0,
        "max_retries": 0,
        "_skip_mcp_handler": True,  # with tools, it would look for its MCP gateway, which is another package
        **endpoint(request.model, settings, sandbox_base),
        **request.params,
    }


def provider_body(request: Request) -> dict[str, Any]:
    """A request as the provider itself takes it, for a batch: with the changes that litellm makes to a direct call."""
    litellm = load_litellm()
    name, provider, *_ = litellm.get_llm_provider(request.model)
    params = litellm.utils.get_optional_params(
        model=name, custom_llm_provider=provider, drop_params=True, **request.params
    )
    extra = params.pop("extra_body", None) or {}
    params.pop("stream", None)
    return {"model": name, "messages": _without_surrogates(request.messages), **params, **extra}


def completion_of(response: Any, request: Request, prices: tuple[float, float] | None) -> Completion:
    """The completion in a response with a choice, at USD for one input and one output token (None: unknown)."""
    choice, usage = response.choices[0], response.usage
    refusal = (choice.message.provider_specific_fields or {}).get("refusal")
    text = _replace_surrogates(refusal or _text(choice.message))
    prompt_tokens = _plausible(usage.prompt_tokens, request.prompt_bytes // 3 + 16)
    completion_tokens = _plausible(usage.completion_tokens, max_tokens_of(text))
    prompt_price, completion_price = prices or (0.0, 0.0)
    return Completion(
        text=text,
        finish_reason=REFUSAL if refusal else _replace_surrogates(choice.finish_reason or "stop"),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=prompt_tokens * prompt_price + completion_tokens * completion_price,
    )


def response_headers(response: Any) -> dict[str, str]:
    """The service's headers; litellm keeps them aside, under names with a prefix."""
    kept = response._hidden_params.get("additional_headers") or {}
    return {name.removeprefix("llm_provider-").lower(): str(value) for name, value in kept.items()}


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


def _without_surrogates(messages: Sequence[Message]) -> list[Message]:
    """The messages of a request without half characters."""
    return [{**message, "content": _replace_surrogates(message["content"])} for message in messages]


def _replace_surrogates(text: str) -> str:
    """A text without half characters."""
    return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
