"""The tables [service] and [judge]: the service LLM, and how it scores responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from engine.protocol.limits import LONGEST_CALL_S, LONGEST_S, MOST_A_MINUTE, MOST_CALLS, MOST_TOKENS, MOST_USD
from engine.settings.table import SECRET, Address, Table, Variable

SANDBOX_MODEL = "sandbox"
"""The model name of the offline sandbox, which the worker starts."""

RESERVED_PARAMS = frozenset(
    {"model", "messages", "tools", "timeout", "stream", "n", "num_retries", "max_retries", "max_completion_tokens"}
)
"""Request parameters that other settings control, or that would break the budget or the parsing of responses."""


class ModelEndpoint(Table):
    """Address, key, limits and prices of one model: the keys of [service] by the same names."""

    api_base: Address = None
    api_key_env: Variable = None
    rpm: int | None = Field(None, ge=1, le=MOST_A_MINUTE)
    tpm: int | None = Field(None, ge=1, le=MOST_A_MINUTE)
    input_price: float | None = Field(None, ge=0, le=MOST_USD)
    output_price: float | None = Field(None, ge=0, le=MOST_USD)


class Service(Table):
    """The service LLM to migrate from: it judges responses and writes new pairs."""

    model: str = Field(
        description='A litellm model name ("gpt-4o", "gemini/gemini-2.5-pro"), or "sandbox" for an offline one.'
    )
    api_base: Address = Field(None, description="Address of an OpenAI-compatible endpoint, if not the provider's.")
    api_key_env: Variable = Field(None, description="Name of the environment variable with the API key.")
    rpm: int | None = Field(None, ge=1, le=MOST_A_MINUTE, description="Requests per minute that your account allows.")
    tpm: int | None = Field(None, ge=1, le=MOST_A_MINUTE, description="Tokens per minute that your account allows.")
    concurrency: int = Field(
        64, ge=1, le=256, description="Maximum calls in flight; fewer while the service is slow or busy."
    )
    timeout_s: float = Field(
        120.0, gt=0, le=LONGEST_CALL_S, description="Seconds to wait for one response; a stop waits as long."
    )
    patience_s: float = Field(
        3600.0, ge=0, le=LONGEST_S, description="Seconds to keep retrying while the service is down or busy."
    )
    budget_usd: float | None = Field(
        None, ge=0, le=MOST_USD, description="Maximum cost of the run in USD; not set: no cap."
    )
    budget_calls: int | None = Field(
        None, ge=0, le=MOST_CALLS, description="Maximum calls that the run pays for; not set: no cap."
    )
    batch: bool = Field(
        False, description="Use the batch API (OpenAI, Azure): half the price, but a batch takes up to 24 hours."
    )
    cache: bool = Field(True, description="Reuse responses in your later runs; they are kept in ~/.cache/llamaduo.")
    input_price: float | None = Field(
        None, ge=0, le=MOST_USD, description="USD per million input tokens, if litellm has no price."
    )
    output_price: float | None = Field(None, ge=0, le=MOST_USD, description="USD per million output tokens, likewise.")
    params: dict[str, Any] = Field({}, description="Further request parameters, such as {temperature = 0.7}.")
    models: dict[str, ModelEndpoint] = Field(
        {},
        description="Models with their own api_base, api_key_env, rpm, tpm, input_price or output_price:"
        ' {"gpt-4o" = {rpm = 60}}.',
    )

    @field_validator("params")
    @classmethod
    def _no_secrets(cls, params: dict[str, Any]) -> dict[str, Any]:
        if any(SECRET.search(key) for key in _keys(params)):
            raise PydanticCustomError("secret", "keys come from the environment: name the variable in api_key_env")
        return params

    @field_validator("params")
    @classmethod
    def _not_reserved(cls, params: dict[str, Any]) -> dict[str, Any]:
        if reserved := [key for key in params if key in RESERVED_PARAMS or key.startswith("api_")]:
            raise ValueError(f"{reserved[0]!r} cannot be set here")
        most = params.get("max_tokens", 1)
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= MOST_TOKENS:
            raise ValueError(f"max_tokens must be a whole number from 1 to {MOST_TOKENS:,}")
        return params

    @property
    def key_names(self) -> set[str]:
        """The environment variables that are named for keys."""
        named = [self.api_key_env, *(terms.api_key_env for terms in self.models.values())]
        return {name for name in named if name}

    def endpoint(self, model: str) -> ModelEndpoint:
        """A model's own endpoint, completed by the limits of this table, and by all of it for the service model."""
        shared = set(ModelEndpoint.model_fields) if model == self.model else {"rpm", "tpm"}
        own = self.models.get(model, ModelEndpoint()).model_dump(exclude_none=True)
        return ModelEndpoint(**self.model_dump(include=shared) | own)


class Judge(Table):
    """How responses are scored, from 1 to 100: similarity to the reference, and precision."""

    models: list[str] = Field([], description="Judge models; empty: the service model.")
    repeats: int = Field(2, ge=1, le=50, description="Verdicts per response.")
    adaptive: bool = Field(
        True,
        description="From 4 repeats on: where a response's first two verdicts agree, ask for one more instead of all.",
    )
    drift: int = Field(
        20,
        ge=0,
        le=1000,
        description="Answers of round 0 that each judge judges again in every later round, to see whether it still "
        "scores alike; 0: none.",
    )
    prompts: str | None = Field(None, description="A TOML file with your own prompts, as in LlamaDuo.")


def _keys(table: Any) -> Iterator[str]:
    """The keys of a table and of those in it."""
    for value in table.values() if isinstance(table, dict) else table if isinstance(table, list) else ():
        yield from _keys(value)
    if isinstance(table, dict):
        yield from table
