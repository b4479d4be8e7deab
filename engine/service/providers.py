"""What differs from provider to provider: keys, names, batches, headers and error texts.

Plain data, so that the app and the doctor can read it without litellm. A provider's quirk goes here; code that acts on
it reads this table (`models`, `headers`, `faults`, the app's key states).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider by litellm's `name`, which is the prefix of its models.

    `keys` are the environment variables that litellm reads, any of which is enough; `bare_names` is a pattern for the
    start of models that litellm knows without the prefix. `takes_batches` is of OpenAI's form, files of requests,
    without a cloud bucket of the user's. `limit_headers` name what remains of a limit and when it resets, with {} for
    `requests` or `tokens`. `refusal_codes` are error codes of a refused prompt; `account_codes` and `account_texts`
    how they tell that the account can do nothing until a person acts: a used-up quota, a wrong or expired key.
    """

    name: str
    keys: tuple[str, ...]
    bare_names: str = ""
    takes_batches: bool = False
    limit_headers: tuple[str, str] | None = None
    refusal_codes: tuple[str, ...] = ()
    account_codes: tuple[str, ...] = ()
    account_texts: tuple[str, ...] = ()


PROVIDERS = (
    Provider(
        name="openai",
        keys=("OPENAI_API_KEY",),
        bare_names=r"gpt-|chatgpt-|o\d",
        takes_batches=True,
        limit_headers=("x-ratelimit-remaining-{}", "x-ratelimit-reset-{}"),
        refusal_codes=(
            "context_length_exceeded",
            "content_policy_violation",
            "content_filter",
            "invalid_prompt",
            "exceed_context_size_error",
        ),
        account_codes=(
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
            "account_deactivated",
            "project_spend_limit_exceeded",
            "invalid_api_key",
        ),
    ),
    Provider(
        name="anthropic",
        keys=("ANTHROPIC_API_KEY",),
        bare_names=r"claude-[^:]*$",  # "claude-...-v1:0" is Bedrock's
        limit_headers=("anthropic-ratelimit-{}-remaining", "anthropic-ratelimit-{}-reset"),
        account_codes=("billing_error", "authentication_error"),
        account_texts=("credit balance is too low", "reached your specified API usage limits"),
    ),
    Provider(
        name="gemini",
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        account_codes=("API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "BILLING_DISABLED"),
    ),
    Provider(name="mistral", keys=("MISTRAL_API_KEY",)),
    Provider(name="azure", keys=("AZURE_API_KEY",), takes_batches=True),
    Provider(name="openrouter", keys=("OPENROUTER_API_KEY",), account_texts=("Key limit exceeded",)),
    Provider(name="deepseek", keys=("DEEPSEEK_API_KEY",), account_texts=("Insufficient Balance",)),
    Provider(name="groq", keys=("GROQ_API_KEY",)),
    Provider(name="together_ai", keys=("TOGETHERAI_API_KEY",)),
    Provider(
        name="xai",
        keys=("XAI_API_KEY",),
        account_texts=(
            "used all available credits",
            "reached its monthly spending limit",
            "Incorrect API key provided",  # with status 400
        ),
    ),
)


def provider_of(model: str) -> Provider | None:
    """The provider of a model by its name; None for one that is not in the table."""
    prefix, slash, _ = model.partition("/")
    if slash:
        return next((provider for provider in PROVIDERS if provider.name == prefix), None)
    return next((p for p in PROVIDERS if p.bare_names and re.match(p.bare_names, model)), None)
