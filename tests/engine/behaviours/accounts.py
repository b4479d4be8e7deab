"""States of a whole account: no call can succeed until a person acts, so that a run ends at once with the true cause."""

from __future__ import annotations

from typing import Any

from behaviour import Behaviour
from mocking.replies import (
    after,
    anthropic_error,
    gemini_error,
    lives,
    openai_error,
    page,
    refused,
    right,
    times,
    unless,
)
from mocking.server import Respond

from behaviours.replies import CLAUDE, GEMINI

GPT, ROUTER, GROK, MISTRAL = "openai/gpt-4o", "openrouter/openai/gpt-4o", "xai/grok-4", "mistral/mistral-large-latest"


def invalid_gemini_key(message: str) -> Respond:
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    return gemini_error(400, "INVALID_ARGUMENT", message, info)


WRONG_KEY: dict[str, tuple[str, Respond]] = {
    "OpenAI": (
        GPT,
        openai_error(
            401,
            "Incorrect API key provided: sk-*****. You can find your API key at https://platform.openai.com.",
            "invalid_api_key",
        ),
    ),
    "Azure": (
        "azure/gpt-4o",
        refused(
            401,
            {
                "error": {
                    "code": "401",
                    "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a"
                    " valid key for an active subscription and use a correct regional API endpoint for your resource.",
                }
            },
        ),
    ),
    "Anthropic": (CLAUDE, anthropic_error(401, "authentication_error", "invalid x-api-key")),
    "Gemini": (GEMINI, invalid_gemini_key("API key not valid. Please pass a valid API key.")),
    "Gemini, expired": (GEMINI, invalid_gemini_key("API key expired. Please renew the API key.")),
    "OpenRouter": (ROUTER, refused(401, {"error": {"message": "User not found.", "code": 401}})),
    "xAI": (
        GROK,
        refused(
            400,
            {
                "code": "Client specified an invalid argument",
                "error": "Incorrect API key provided: xa***ef. You can obtain an API key from https://console.x.ai.",
            },
        ),
    ),
    "Mistral": (MISTRAL, refused(401, {"detail": "Unauthorized"})),
    "a page": (GPT, page(401, "401 Authorization Required")),
}

USED_UP: dict[str, tuple[str, Respond, str]] = {
    "OpenAI: insufficient_quota": (
        GPT,
        openai_error(
            429,
            "You exceeded your current quota, please check your plan and billing details. For more information on this error,"
            " read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        "exceeded your current quota",
    ),
    "OpenAI: project_spend_limit_exceeded": (
        GPT,
        openai_error(
            429,
            "Your project has reached its spend limit. Raise it in the project's settings.",
            "project_spend_limit_exceeded",
            "insufficient_quota",
        ),
        "spend limit",
    ),
    "OpenAI: billing_hard_limit_reached": (
        GPT,
        openai_error(400, "Billing hard limit has been reached", "billing_hard_limit_reached"),
        "hard limit",
    ),
    "OpenAI: billing_not_active": (
        GPT,
        openai_error(
            429,
            "Your account is not active, please check your billing details on our website.",
            "billing_not_active",
            "billing_not_active",
        ),
        "not active",
    ),
    "Anthropic: credit": (
        CLAUDE,
        anthropic_error(
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase"
            " credits.",
        ),
        "credit balance",
    ),
    "Anthropic: usage limits": (
        CLAUDE,
        anthropic_error(
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
        ),
        "usage limits",
    ),
    "OpenRouter: 402": (
        ROUTER,
        refused(
            402,
            {
                "error": {
                    "message": "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
                    "code": 402,
                }
            },
        ),
        "Insufficient credits",
    ),
    "OpenRouter: 402 inside a 200": (
        ROUTER,
        refused(
            200,
            {
                "error": {
                    "message": "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
                    "code": 402,
                }
            },
        ),
        "Insufficient credits",
    ),
    "xAI: 403": (
        GROK,
        refused(
            403,
            {
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Your team 16f2 has either used all available credits or reached its monthly spending limit. To"
                " continue making API requests, please purchase more credits or raise your spending limit.",
            },
        ),
        "used all available credits",
    ),
    "xAI: 429": (
        GROK,
        refused(
            429,
            {
                "code": "Some resource has been exhausted",
                "error": "Your team 16f2 has either used all available credits or reached its monthly spending limit. To"
                " continue making API requests, please purchase more credits or raise your spending limit.",
            },
        ),
        "used all available credits",
    ),
    "DeepSeek: 402": (
        "deepseek/deepseek-chat",
        refused(
            402,
            {
                "error": {
                    "message": "Insufficient Balance",
                    "type": "unknown_error",
                    "param": None,
                    "code": "invalid_request_error",
                }
            },
        ),
        "Insufficient Balance",
    ),
}

GONE: dict[str, tuple[str, Respond]] = {
    "OpenAI": (
        GPT,
        openai_error(
            404,
            "The model `gpt-4o` has been deprecated, learn more here: https://platform.openai.com/docs/deprecations",
            "model_not_found",
        ),
    ),
    "Azure": (
        "azure/gpt-4o",
        refused(
            404,
            {
                "error": {
                    "code": "DeploymentNotFound",
                    "message": "The API deployment for this resource does not exist. If you created the deployment within the"
                    " last 5 minutes, please wait a moment and try again.",
                }
            },
        ),
    ),
    "Anthropic": (CLAUDE, anthropic_error(404, "not_found_error", "model: claude-sonnet-4-5")),
    "Gemini": (
        GEMINI,
        gemini_error(
            404,
            "NOT_FOUND",
            "models/gemini-2.5-pro is not found for API version v1beta, or is not supported for generateContent.",
        ),
    ),
    "Ollama": ("ollama_chat/q", refused(404, {"error": "model 'q' not found"})),
}

SUSPENDED = openai_error(400, "This workspace has been suspended by its owner.")
AT_ONCE: dict[str, Any] = {"seconds": (0, 20), "settings": {"patience_s": 3600.0}}

ROWS = (
    *(
        Behaviour(
            name=f"wrong key: {name}",
            respond=lambda error=error: error,  # type: ignore[misc]
            model=model,
            count=30,
            ends=" ",
            hint=("key",),
            not_hint=("top up",),
            requests=20,
            **AT_ONCE,
        )
        for name, (model, error) in WRONG_KEY.items()
    ),
    *(
        Behaviour(
            name=f"the key is revoked in mid-run: {name}",
            respond=lambda error=error: after(20, error),  # type: ignore[misc]
            model=model,
            count=60,
            right=0,
            ends=" ",
            hint=("key",),
            requests=20 + 64,
            **AT_ONCE,
        )
        for name, (model, error) in WRONG_KEY.items()
    ),
    *(
        Behaviour(
            name=f"the key is revoked for the last three: {name}",
            respond=lambda error=error: after(37, error),  # type: ignore[misc]
            model=model,
            count=40,
            ends=" ",
            hint=("key",),
            requests=37 + 12,
            **AT_ONCE,
        )
        for name, (model, error) in WRONG_KEY.items()
    ),
    *(
        Behaviour(
            name=f"{when}: {name}",
            respond=lambda error=error, first=first: after(first, error),  # type: ignore[misc]
            model=model,
            count=40,
            ends=words,
            hint=("top up",) if "usage limits" not in name else (),
            not_hint=("[service]", "the network"),
            requests=first + 32,
            **AT_ONCE,
        )
        for name, (model, error, words) in USED_UP.items()
        for when, first in (
            ("used up from the start", 0),
            ("used up in mid-run", 20),
            ("used up for the last three", 37),
        )
    ),
    *(
        Behaviour(
            name=f"the model is withdrawn {when}: {name}",
            respond=lambda error=error, first=first: after(first, error),  # type: ignore[misc]
            model=model,
            count=40,
            ends=" ",
            hint=("model",),
            requests=first + 32,
            **AT_ONCE,
        )
        for name, (model, error) in GONE.items()
        for when, first in (("from the start", 0), ("for the last three", 37))
    ),
    Behaviour(
        name="a suspended workspace says so with an unknown 400, from the start",
        respond=lambda: SUSPENDED,
        count=40,
        ends="suspended",
        requests=64,
        **AT_ONCE,
    ),
    Behaviour(
        name="a suspended workspace says so with an unknown 400, for the last three",
        respond=lambda: after(37, SUSPENDED),
        count=40,
        ends="suspended",
        requests=37 + 24,
        seconds=(0, 1200),
    ),
    Behaviour(
        name="a suspended workspace says so with an unknown 403, for the last three",
        respond=lambda: after(37, openai_error(403, "This workspace has been suspended by its owner.")),
        count=40,
        ends="suspended",
        requests=37 + 24,
        seconds=(0, 1200),
    ),
    Behaviour(
        name="Gemini is not offered in this country",
        respond=lambda: gemini_error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        model=GEMINI,
        count=40,
        ends="location",
        requests=64,
        seconds=(0, 120),
    ),
    Behaviour(
        name="OpenAI is not offered in this country",
        respond=lambda: openai_error(
            403, "Country, region, or territory not supported", "unsupported_country_region_territory"
        ),
        count=40,
        ends="territory",
        requests=64,
        seconds=(0, 120),
    ),
    Behaviour(
        name="a new key, then a resume: nothing is paid twice",
        respond=lambda: lives(after(2, WRONG_KEY["OpenAI"][1]), right),
        count=12,
        settings={"concurrency": 1},
        lives=2,
        ended=" ",
        requests=14,
    ),
    Behaviour(
        name="an account topped up, then a resume",
        respond=lambda: lives(after(2, USED_UP["OpenAI: insufficient_quota"][1]), right),
        count=12,
        settings={"concurrency": 1},
        lives=2,
        ended="quota",
        requests=14,
    ),
    Behaviour(
        name="a 400 for all first requests",
        respond=lambda: times(8, openai_error(400, "Upstream is being updated"), right),
        count=12,
    ),
    Behaviour(
        name="the key may not use the model (403)",
        respond=lambda: unless(
            lambda _: True,
            openai_error(403, "Project `proj_1` does not have access to model `gpt-4o`", "model_not_found"),
        ),
        count=40,
        ends="does not have access",
        requests=64,
        seconds=(0, 120),
    ),
)
