"""Prompts that never work, among others that do: each is refused alone, after a few tries."""

from __future__ import annotations

from typing import Any

from behaviour import Behaviour
from mocking.replies import anthropic_error, gemini_error, lost, on, openai_error, page, refused
from mocking.server import Respond

from behaviours.replies import ALONE, CLAUDE, GEMINI, ODD, _asked

FLAGGED = refused(
    403,
    {
        "error": {
            "code": 403,
            "message": 'openai/gpt-4o requires moderation on OpenAI. Your input was flagged for "violence". No credits were'
            " charged.",
            "metadata": {"reasons": ["violence"], "flagged_input": "...", "provider_name": "OpenAI"},
        }
    },
)
AZURE_FILTER = refused(
    400,
    {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
            " Please modify your prompt and retry. To learn more about our content filtering policies please read our"
            " documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
            },
        }
    },
)
TOO_LONG = openai_error(
    400,
    "This model's maximum context length is 128000 tokens. However, your messages resulted in 140012 tokens. Please reduce"
    " the length of the messages.",
    "context_length_exceeded",
    param="messages",
)

ALWAYS: dict[str, tuple[str, Respond]] = {
    "OpenRouter flags it (403)": ("openrouter/openai/gpt-4o", FLAGGED),
    "a firewall's page (403)": ("openai/gpt-4o", page(403, "Attention Required! | Cloudflare")),
    "a firewall's page (403), Claude": (CLAUDE, page(403, "Request blocked")),
    "a firewall's page (406)": ("openai/gpt-4o", page(406, "Not Acceptable")),
    "500": (
        "openai/gpt-4o",
        openai_error(500, "The server had an error while processing your request", kind="server_error"),
    ),
    "502, a page": ("openai/gpt-4o", page(502, "Bad Gateway")),
    "504, a page": ("openai/gpt-4o", page(504, "Gateway Time-out")),
    "Anthropic's 500": (CLAUDE, anthropic_error(500, "api_error", "Internal server error")),
    "Gemini's 500": (GEMINI, gemini_error(500, "INTERNAL", "An internal error has occurred. Please retry.")),
    "Azure's filter": ("azure/gpt-4o", AZURE_FILTER),
    "OpenAI's invalid_prompt": (
        "openai/gpt-4o",
        openai_error(
            400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"
        ),
    ),
    "too long for the context": ("openai/gpt-4o", TOO_LONG),
    "Claude: too long": (
        CLAUDE,
        anthropic_error(400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
    ),
    "Gemini: too long": (
        GEMINI,
        gemini_error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048575).",
        ),
    ),
    "413, a page": ("openai/gpt-4o", page(413, "Request Entity Too Large")),
    "a 400 that nobody knows": ("openai/gpt-4o", openai_error(400, "could not process this input")),
    "a 422 that nobody knows": ("mistral/mistral-large-latest", refused(422, {"detail": [{"msg": "Invalid input"}]})),
    "Ollama's runner dies": (
        "ollama_chat/q",
        refused(500, {"error": "llama runner process has terminated: signal: segmentation fault"}),
    ),
    "400 page": ("openai/gpt-4o", page(400, "Bad Request")),
}
"""A prompt that is answered so at each try."""

SLOW: dict[str, Any] = {"timeout_s": 30.0, "patience_s": 3600.0}

ROWS = (
    *(
        Behaviour(
            name=f"one prompt: {name}",
            respond=lambda error=error: on(ODD, error),  # type: ignore[misc]
            model=model,
            settings={"patience_s": 3600.0},
            **ALONE,
            requests=11 + 12,
            seconds=(0, 900),
        )
        for name, (model, error) in ALWAYS.items()
    ),
    Behaviour(
        name="one prompt: never an answer in time",
        respond=lambda: on(ODD, lost("hang")),
        settings=SLOW,
        **ALONE,
        requests=11 + 12,
        booked="bound",
        seconds=(30, 900),
    ),
    Behaviour(
        name="one prompt: the connection is cut each time",
        respond=lambda: on(ODD, lost("cut")),
        settings=SLOW,
        **ALONE,
        requests=11 + 12,
        booked="bound",
        seconds=(0, 900),
    ),
    Behaviour(
        name="a third of the prompts is refused (400)",
        respond=lambda: _each_third(openai_error(400, "could not process this input")),
        count=36,
        left_out=12,
    ),
    Behaviour(
        name="a third of the prompts fails (500)",
        respond=lambda: _each_third(openai_error(500, "The server had an error", kind="server_error")),
        settings={"patience_s": 3600.0},
        count=36,
        left_out=12,
        seconds=(0, 1800),
    ),
    Behaviour(
        name="the last prompt alone is refused (400)",
        respond=lambda: on("answer 11 worth", openai_error(400, "could not process this input")),
        settings={"concurrency": 1},
        **ALONE,
    ),
    Behaviour(
        name="the last three prompts are refused (400)",
        respond=lambda: _last(9, openai_error(400, "could not process this input")),
        settings={"concurrency": 1},
        count=12,
        left_out=3,
    ),
    Behaviour(
        name="the first prompt alone is refused (400)",
        respond=lambda: on("answer 0 worth", openai_error(400, "could not process this input")),
        settings={"concurrency": 1},
        **ALONE,
    ),
    Behaviour(
        name="the first prompt alone fails (500)",
        respond=lambda: on("answer 0 worth", openai_error(500, "The server had an error", kind="server_error")),
        settings={"concurrency": 1, "patience_s": 3600.0},
        **ALONE,
        seconds=(0, 900),
    ),
    Behaviour(
        name="teacher: one question is flagged", respond=lambda: _asked("question 3", FLAGGED), stage="teacher", **ALONE
    ),
    Behaviour(
        name="teacher: one question fails (500)",
        respond=lambda: _asked("question 3", openai_error(500, "The server had an error", kind="server_error")),
        stage="teacher",
        settings={"patience_s": 3600.0},
        **ALONE,
        seconds=(0, 900),
    ),
)


def _each_third(error: Respond) -> Respond:
    return _numbered(lambda number: number % 3 == 0, error)


def _last(first: int, error: Respond) -> Respond:
    return _numbered(lambda number: number >= first, error)


def _numbered(meant: object, error: Respond) -> Respond:
    from mocking.replies import WORTH, unless
    from mocking.server import Ask

    def is_meant(ask: Ask) -> bool:
        found = WORTH.search(ask.text)
        return bool(found and meant(int(found[1])))  # type: ignore[operator]

    return unless(is_meant, error)
