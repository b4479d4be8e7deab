"""Limits of rate, told or not, in each provider's words: the run waits as long as it must, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate

from behaviour import Behaviour, Played
from mocking.clock import CLOCK
from mocking.replies import anthropic_error, during, gemini_limit, limited, openai_error, refused, right
from mocking.server import Ask, Reply, Respond

from behaviours.accounts import GPT, GROK, MISTRAL, ROUTER
from behaviours.replies import CLAUDE, GEMINI

OPENAI_RPM = (
    "Rate limit reached for gpt-4o in organization org-1 on requests per min (RPM): Limit 60, Used 60, Requested 1. Please"
    " try again in 1s. Visit https://platform.openai.com/account/rate-limits to learn more."
)


def openai_limit(**headers: str) -> Respond:
    body = {"error": {"message": OPENAI_RPM, "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
    return refused(429, body, **headers)


def at_a_date(ask: Ask) -> Reply:
    return openai_limit(retry_after=formatdate(CLOCK.time() + 2, usegmt=True))(ask)


SILENT = refused(429, {"error": {"message": "Too many requests", "type": "rate_limit", "param": None, "code": None}})

WORDS: dict[str, tuple[str, Respond]] = {
    "OpenAI, with Retry-After": (GPT, openai_limit(retry_after="1")),
    "OpenAI, with retry-after-ms": (GPT, openai_limit(retry_after_ms="900")),
    "OpenAI, with a date": (GPT, at_a_date),
    "OpenAI, with x-ratelimit headers": (
        GPT,
        openai_limit(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="1s"),
    ),
    "OpenAI, in the text alone": (GPT, openai_limit()),
    "nobody's words": (GPT, SILENT),
    "no body at all": (GPT, refused(429, "")),
    "Azure": (
        "azure/gpt-4o",
        refused(
            429,
            {
                "error": {
                    "code": "429",
                    "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have"
                    " exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 1 second.",
                }
            },
            retry_after="1",
        ),
    ),
    "Anthropic": (
        CLAUDE,
        anthropic_error(
            429,
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 50,000 input tokens per minute.",
            retry_after="1",
        ),
    ),
    "Anthropic overloaded": (CLAUDE, anthropic_error(529, "overloaded_error", "Overloaded")),
    "Gemini a minute": (GEMINI, gemini_limit("GenerateContentInputTokensPerModelPerMinute")),
    "Gemini requests a minute": (GEMINI, gemini_limit("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")),
    "OpenRouter": (
        ROUTER,
        refused(
            429,
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 429,
                    "metadata": {"raw": "gpt-4o is temporarily rate-limited upstream.", "provider_name": "Azure"},
                }
            },
        ),
    ),
    "OpenRouter inside a 200": (ROUTER, refused(200, {"error": {"code": 429, "message": "Rate limit exceeded"}})),
    "xAI": (
        GROK,
        refused(
            429,
            {
                "code": "Some resource has been exhausted",
                "error": "Too many requests. Your team is limited to 1 per second.",
            },
        ),
    ),
    "Mistral": (MISTRAL, refused(429, {"message": "Requests rate limit exceeded"})),
    "Mistral, newer": (
        MISTRAL,
        refused(
            429,
            {
                "object": "error",
                "message": "Rate limit exceeded",
                "type": "rate_limited",
                "param": None,
                "code": "1300",
            },
        ),
    ),
    "Mistral's capacity": (
        MISTRAL,
        refused(
            429,
            {
                "object": "error",
                "message": "Service tier capacity exceeded for this model.",
                "type": "service_tier_capacity_exceeded",
                "param": None,
                "code": "3505",
            },
        ),
    ),
    "Ollama's queue": (
        "ollama_chat/q",
        refused(503, {"error": "server busy, please try again.  maximum pending requests exceeded"}),
    ),
    "Groq": (
        "groq/llama-3.3-70b-versatile",
        openai_error(
            429,
            "Rate limit reached for model `llama-3.3-70b-versatile`. Please try again in 1.5s.",
            "rate_limit_exceeded",
            "tokens",
        ),
    ),
}


def refusals(most: int) -> object:
    """At most so many requests beyond those that are answered."""

    def check(played: Played) -> Iterator[str]:
        refused_count = len(played.mock.asked) - len(played.mock.bills)
        if refused_count > most:
            yield f"{refused_count} requests were refused, more than {most}"

    return check


def tokens_of(ask: Ask) -> float:
    return ask.prompt_tokens + 60.0


ROWS = (
    *(
        Behaviour(
            name=f"limited for twenty seconds: {name}",
            respond=lambda error=error: during(20, error),  # type: ignore[misc]
            model=model,
            count=12,
            seconds=(20, 100),
        )
        for name, (model, error) in WORDS.items()
    ),
    *(
        Behaviour(
            name=f"limited for ever: {name}",
            respond=lambda error=error: error,  # type: ignore[misc]
            model=model,
            settings={"patience_s": 60.0},
            count=2,
            ends=" ",
            not_hint=("top up", "network", "API key"),
            seconds=(30, 100),
        )
        for name, (model, error) in WORDS.items()
    ),
    Behaviour(
        name="limited for five minutes, then at full speed",
        respond=lambda: during(300, SILENT),
        settings={"patience_s": 3600.0},
        count=200,
        seconds=(300, 500),
    ),
    Behaviour(
        name="limited for ten minutes",
        respond=lambda: during(600, SILENT),
        settings={"patience_s": 3600.0},
        count=12,
        seconds=(600, 900),
    ),
    Behaviour(
        name="Gemini is limited for ten minutes",
        respond=lambda: during(600, gemini_limit("GenerateRequestsPerMinutePerProjectPerModel", "30s")),
        model=GEMINI,
        settings={"patience_s": 3600.0},
        count=12,
        seconds=(600, 900),
    ),
    Behaviour(
        name="Gemini's limit of a day: waits, then names it",
        respond=lambda: gemini_limit("GenerateRequestsPerDayPerProjectPerModel", "40s"),
        model=GEMINI,
        settings={"patience_s": 600.0},
        ends="quota",
        not_hint=("network",),
        seconds=(500, 700),
    ),
    *(
        Behaviour(
            name=f"unknown limit of 1 a second, burst 1, nothing told, replies after {latency:g} s",
            respond=lambda latency=latency: limited(1.0, 1.0, SILENT, lambda ask: right(ask, after_s=latency)),  # type: ignore[misc]
            count=60,
            settings={"patience_s": 600.0},
            seconds=(0, 60 / 0.8 + latency),
        )
        for latency in (0.2, 2.0)
    ),
    Behaviour(
        name="unknown limit of 2 a second, burst 5, with Retry-After",
        respond=lambda: limited(2.0, 5.0, openai_limit(retry_after="1")),
        count=100,
        settings={"patience_s": 600.0},
        seconds=(0, 50 / 0.8),
    ),
    Behaviour(
        name="unknown limit of tokens, nothing told",
        respond=lambda: limited(2000.0, 4000.0, SILENT, tokens=tokens_of),
        count=100,
        settings={"patience_s": 600.0},
        seconds=(0, 60 / 0.8),
    ),
    Behaviour(
        name="rpm is set: none is refused",
        respond=lambda: limited(1.0, 1.0, SILENT),
        count=40,
        settings={"rpm": 60},
        seconds=(0, 45),
        requests=42,
    ),
)
