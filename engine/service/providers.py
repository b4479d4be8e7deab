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
    `requests` or `tokens`. `refusal_codes` and `no_credit` are how errors tell a refused prompt and an empty account.
    """

    name: str
    keys: tuple[str, ...]
    bare_names: str = ""
    takes_batches: bool = False
    limit_headers: tuple[str, str] | None = None
    refusal_codes: tuple[str, ...] = ()
    no_credit: str = ""


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
        ),
        no_credit="exceeded your current quota",
    ),
    Provider(
        name="anthropic",
        keys=("ANTHROPIC_API_KEY",),
        bare_names=r"claude-[^:]*$",  # "claude-...-v1:0" is Bedrock's
        limit_headers=("anthropic-ratelimit-{}-remaining", "anthropic-ratelimit-{}-reset"),
        no_credit="credit balance is too low",
    ),
    Provider(name="gemini", keys=("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    Provider(name="mistral", keys=("MISTRAL_API_KEY",)),
    Provider(name="azure", keys=("AZURE_API_KEY",), takes_batches=True),
    Provider(name="openrouter", keys=("OPENROUTER_API_KEY",)),
    Provider(name="deepseek", keys=("DEEPSEEK_API_KEY",)),
    Provider(name="groq", keys=("GROQ_API_KEY",)),
    Provider(name="together_ai", keys=("TOGETHERAI_API_KEY",)),
    Provider(name="xai", keys=("XAI_API_KEY",)),
)


def provider_of(model: str) -> Provider | None:
    """The provider of a model by its name; None for one that is not in the table."""
    prefix, slash, _ = model.partition("/")
    if slash:
        return next((provider for provider in PROVIDERS if provider.name == prefix), None)
    return next((p for p in PROVIDERS if p.bare_names and re.match(p.bare_names, model)), None)
