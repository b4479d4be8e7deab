"""Parameters that a model refuses by name: each is dropped, renamed or fitted once, remembered for it, and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from behaviour import Behaviour, Stage
from mocking.replies import anthropic_error, gemini_error, on, openai_error, refused, right, unless
from mocking.server import Ask, Respond

from behaviours.replies import CLAUDE, GEMINI


def sent(name: str) -> Callable[[Ask], bool]:
    """Whether a request has a parameter."""
    return lambda ask: name in ask.body or name in ask.body.get("generationConfig", {})


RENAMED = openai_error(
    400,
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "unsupported_parameter",
    param="max_tokens",
)
NO_TEMPERATURE = openai_error(
    400,
    "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported.",
    "unsupported_value",
    param="temperature",
)
CLAUDE_NO_TEMPERATURE = anthropic_error(400, "invalid_request_error", "`temperature` is deprecated for this model.")
ROUTED_NO_TEMPERATURE = refused(
    400,
    {
        "error": {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {
                "raw": json.dumps(
                    {
                        "type": "error",
                        "error": {
                            "type": "invalid_request_error",
                            "message": "`temperature` is deprecated for this model.",
                        },
                    }
                ),
                "provider_name": "Anthropic",
            },
        }
    },
)
NO_SCHEMA: dict[str, tuple[str, Respond]] = {
    "OpenAI's words": (
        "openai/gpt-4o",
        openai_error(
            400,
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            param="response_format",
        ),
    ),
    "a gateway's words": (
        "openai/gpt-4o",
        openai_error(400, "Unknown parameter: 'response_format'.", "unknown_parameter", param="response_format"),
    ),
    "vLLM's words": (
        "openai/gpt-4o",
        refused(
            400,
            {
                "object": "error",
                "message": "json_schema: guided decoding is not supported by this backend",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
    ),
    "Groq's words": (
        "groq/openai/gpt-oss-20b",
        openai_error(400, "This model does not support response format `json_schema`. See supported models."),
    ),
    "Mistral's words": (
        "mistral/mistral-large-latest",
        refused(
            422,
            {
                "object": "error",
                "message": {
                    "detail": [
                        {
                            "type": "extra_forbidden",
                            "loc": ["body", "response_format"],
                            "msg": "Extra inputs are not permitted",
                        }
                    ]
                },
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            },
        ),
    ),
}


def window(size: int, write: Callable[[int, int], Respond], *, answer: int = 60) -> Respond:
    """A model whose prompt and max_tokens must fit together into its context."""

    def respond(ask: Ask):  # type: ignore[no-untyped-def]
        wanted = ask.max_tokens or 0
        if ask.prompt_tokens + wanted > size:
            return write(ask.prompt_tokens, wanted)(ask)
        return right(ask)

    return respond


def vllm(size: int) -> Callable[[int, int], Respond]:
    return lambda prompt, wanted: refused(
        400,
        {
            "object": "error",
            "message": f"This model's maximum context length is {size} tokens. However, you requested {prompt + wanted} tokens"
            f" ({prompt} in the messages, {wanted} in the completion). Please reduce the length of the messages or completion.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    )


def newer_vllm(size: int) -> Callable[[int, int], Respond]:
    return lambda prompt, wanted: openai_error(
        400,
        f"'max_tokens' or 'max_completion_tokens' is too large: {wanted}. This model's maximum context length is {size} tokens"
        f" and your request has {prompt} input tokens ({wanted} > {size} - {prompt}). None",
        400,
        "BadRequestError",
    )


def newest_vllm(size: int) -> Callable[[int, int], Respond]:
    return lambda prompt, wanted: openai_error(
        400,
        f"This model's maximum context length is {size} tokens. However, you requested {wanted} output tokens and your prompt"
        f" contains at least {prompt} input tokens, for a total of at least {prompt + wanted} tokens. Please reduce the length"
        " of the input prompt or the number of requested output tokens.",
        400,
        "BadRequestError",
        param="input_tokens",
    )


def most_output(size: int, error: Callable[[int], Respond]) -> Respond:
    """A model that writes at most so many tokens, and says so."""

    def respond(ask: Ask):  # type: ignore[no-untyped-def]
        wanted = ask.max_tokens or 0
        return error(wanted)(ask) if wanted > size else right(ask)

    return respond


MANY: dict[str, Any] = {"count": 24, "requests": 24 + 24}
"""What was sent before the first refusal came is refused likewise."""

WINDOWS: tuple[tuple[Stage, int, int, int], ...] = (
    ("judge", 4096, 24, 72),
    ("synthesize", 8192, 8, 16),
    ("teacher", 4096, 8, 48),
)
"""Contexts that are too small for what a stage asks: tokens, how many are wanted, and the most requests."""

ROWS = (
    *(
        Behaviour(
            name=f"max_tokens is renamed: {model}",
            respond=lambda: unless(sent("max_tokens"), RENAMED),
            model=model,
            told=("max_tokens",),
            **MANY,
        )
        for model in ("openai/o5", "openai/my-reasoner", "azure/my-judge")
    ),
    *(
        Behaviour(
            name=f"temperature is refused: {model}",
            respond=lambda error=error: unless(sent("temperature"), error),  # type: ignore[misc]
            model=model,
            told=("temperature",),
            **MANY,
        )
        for model, error in (
            ("openai/my-reasoner", NO_TEMPERATURE),
            ("azure/my-judge", NO_TEMPERATURE),
            ("anthropic/claude-opus-4-9", CLAUDE_NO_TEMPERATURE),
            ("openrouter/anthropic/claude-opus-4.7", ROUTED_NO_TEMPERATURE),
        )
    ),
    Behaviour(
        name="both are refused, one after the other",
        respond=lambda: unless(sent("max_tokens"), RENAMED, unless(sent("temperature"), NO_TEMPERATURE)),
        model="azure/my-judge",
        told=("max_tokens", "temperature"),
        count=24,
        requests=24 + 48,
    ),
    *(
        Behaviour(
            name=f"the schema is refused: {name}",
            respond=lambda error=error: unless(sent("response_format"), error),  # type: ignore[misc]
            model=model,
            told=("response_format",) if "vLLM" not in name else (),
            **MANY,
        )
        for name, (model, error) in NO_SCHEMA.items()
    ),
    Behaviour(
        name="the schema is refused: Gemini's words",
        respond=lambda: unless(
            sent("response_json_schema"),
            gemini_error(
                400,
                "INVALID_ARGUMENT",
                "Invalid JSON payload received. Unknown name \"response_json_schema\" at 'generation_config': Cannot find field.",
            ),
        ),
        model=GEMINI,
        **MANY,
    ),
    *(
        Behaviour(
            name=f"a context of {size} tokens: {name}, {stage}",
            respond=lambda size=size, write=write: window(size, write(size)),  # type: ignore[misc]
            model="openai/my-vllm",
            stage=stage,
            count=count,
            requests=requests,
        )
        for name, write in (("vLLM", vllm), ("newer vLLM", newer_vllm), ("newest vLLM", newest_vllm))
        for stage, size, count, requests in WINDOWS
    ),
    Behaviour(
        name="Claude writes fewer tokens than asked for",
        respond=lambda: most_output(
            4096,
            lambda wanted: anthropic_error(
                400,
                "invalid_request_error",
                f"max_tokens: {wanted} > 4096, which is the maximum allowed number of output tokens for claude-unknown",
            ),
        ),
        model="anthropic/claude-unknown",
        stage="synthesize",
        count=8,
        requests=16,
    ),
    Behaviour(
        name="OpenAI writes fewer tokens than asked for",
        respond=lambda: most_output(
            4096,
            lambda wanted: openai_error(
                400,
                f"max_tokens is too large: {wanted}. This model supports at most 4096 completion tokens, whereas you provided"
                f" {wanted}.",
                "invalid_value",
                param="max_tokens",
            ),
        ),
        model="openai/unknown",
        stage="synthesize",
        count=8,
        requests=16,
    ),
    Behaviour(
        name="one prompt alone is too long for the context",
        respond=lambda: on("answer 3 worth", vllm(4096)(5000, 4096)),
        model="openai/my-vllm",
        count=12,
        left_out=1,
        requests=11 + 12,
    ),
    Behaviour(
        name="Claude takes no temperature, from the start",
        respond=lambda: unless(sent("temperature"), CLAUDE_NO_TEMPERATURE),
        model=CLAUDE,
        count=4,
    ),
)
