"""Between litellm and our records: a request as its arguments, a completion from its response."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.protocol.rows import Message, ToolCall, message_text
from engine.protocol.terminal import one_line
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

BROKEN = "error"
"""The finish reason of a completion during which the provider failed; it is billed nevertheless."""

CUT = "length"
ENDINGS = (
    (
        BROKEN,
        re.compile(r"err|abort|cancel|time_?out|fail|insufficient|network|malformed|pause|repeti|interrupt|partial"),
    ),
    (FILTERED, re.compile(r"safety|filter|recit|block|prohibit|spii|refus|sensitive|guardrail|policy")),
    (CUT, re.compile(r"length|limit|max|context|truncat|window|incomplete")),
)
"""What the reasons of providers mean that litellm turns into "stop"."""

MAX_COST = 1000.0
"""USD: more than any call costs."""

MAX_NAME = 200
"""Characters of a model's name."""


def completion_arguments(
    request: Request, params: Mapping[str, Any], settings: Service, sandbox_base: str | None
) -> dict[str, Any]:
    """A request with these parameters as the arguments of `litellm.acompletion`, which is to try once."""
    return {
        "model": litellm_name(request.model),
        "messages": _without_surrogates(request.messages),
        "timeout": settings.timeout_s,
        "num_retries": 0,
        "max_retries": 0,
        "_skip_mcp_handler": True,  # with tools, it would look for its MCP gateway, which is another package
        **endpoint(request.model, settings, sandbox_base),
        **params,
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


def completion_of(
    response: Any, request: Request, prices: tuple[float, float] | None, *, listed: bool = False
) -> Completion:
    """The completion in a response with a choice, at USD for one input and one output token (None: unknown).

    Where the response says what it costs, that is the cost; else, with `listed`, what litellm makes of its price list,
    which knows discounts for cached prompts.
    """
    choice, usage = response.choices[0], response.usage
    refusal = (choice.message.provider_specific_fields or {}).get("refusal")
    text = _replace_surrogates(refusal or _text(choice.message))
    finish_reason = _finish_reason(choice, refusal)
    counts = finish_reason != BROKEN or bool(usage.prompt_tokens)  # a failure that counts nothing bills nothing
    prompt_tokens = _plausible(usage.prompt_tokens, counts * (request.prompt_bytes // 3 + 16))
    completion_tokens = _plausible(usage.completion_tokens, counts * max_tokens_of(text))
    counted = (prompt_tokens, completion_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    total = getattr(usage, "total_tokens", None)  # with some, thoughts count in the total alone
    if isinstance(total, int) and prompt_tokens + completion_tokens < total <= MAX_TOKENS and usage.prompt_tokens:
        completion_tokens, counted = total - prompt_tokens, False
    prompt_price, completion_price = prices or (0.0, 0.0)
    cost = prompt_tokens * prompt_price + completion_tokens * completion_price
    return Completion(
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=_stated(usage) or (_listed(response) if listed and counted else None) or cost,
        model=_name(getattr(response, "model", None)),
        fingerprint=_name(getattr(response, "system_fingerprint", None)),
    )


def _finish_reason(choice: Any, refusal: str | None) -> str:
    """Why a completion ended; litellm turns reasons that it does not know into "stop"."""
    if refusal:
        return REFUSAL
    fields = getattr(choice, "provider_specific_fields", None) or {}
    if fields.get("error"):
        return BROKEN
    native = fields.get("native_finish_reason")
    if isinstance(native, str):
        for meaning, words in ENDINGS:
            if words.search(native.lower()):
                return meaning
    return _replace_surrogates(choice.finish_reason or "stop")


def _stated(usage: Any) -> float | None:
    """The cost that a response states; of a key of the user's own, with what the provider behind the gateway takes."""
    cost, details = _billed(getattr(usage, "cost", None)), getattr(usage, "cost_details", None)
    behind = details.get("upstream_inference_cost") if isinstance(details, dict) else None
    if getattr(usage, "is_byok", None) is True and (upstream := _billed(behind)):
        return (cost or 0.0) + upstream
    return cost


def _billed(cost: Any) -> float | None:
    """The cost that a response states, in USD, if it can be one."""
    return float(cost) if isinstance(cost, int | float) and 0.0 < cost <= MAX_COST else None


def _listed(response: Any) -> float | None:
    """The cost of a response by litellm's price list, in USD, where it has the model."""
    return _billed(response._hidden_params.get("response_cost"))


def _name(value: Any) -> str:
    """A name from a response, safe to show."""
    return one_line(_replace_surrogates(value))[:MAX_NAME] if isinstance(value, str) else ""


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
