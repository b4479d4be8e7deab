"""What litellm knows of a model: its provider, its price, its key. Every import of litellm comes by here.

Without LITELLM_LOCAL_MODEL_COST_MAP its import stalls on the network.
"""

from __future__ import annotations

import functools
import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
from litellm import exceptions

from engine.config import SANDBOX_MODEL, Service
from engine.errors import InputError

__all__ = ["endpoint", "exceptions", "litellm", "litellm_name", "missing_keys", "price", "supports_schema"]

litellm.suppress_debug_info = True
litellm.drop_params = True
litellm.telemetry = False


def litellm_name(model: str) -> str:
    """How litellm calls a model of our settings."""
    return f"openai/{SANDBOX_MODEL}" if model == SANDBOX_MODEL else model


def endpoint(model: str, settings: Service, sandbox_base: str | None = None) -> dict[str, Any]:
    """Where a model is asked, and with which key, as litellm's arguments; {} leaves both to litellm."""
    if model == SANDBOX_MODEL:
        return {"api_base": settings.api_base or sandbox_base, "api_key": "sandbox"}
    if model != settings.model:
        return {}
    found: dict[str, Any] = {}
    if settings.api_base:
        found["api_base"] = settings.api_base
    if settings.api_key_env:
        found["api_key"] = os.environ.get(settings.api_key_env)
    return found


@functools.cache
def supports_schema(model: str) -> bool:
    """Whether litellm knows that the model keeps to a JSON schema."""
    return bool(litellm.supports_response_schema(model=litellm_name(model)))


def price(model: str, settings: Service) -> tuple[float, float] | None:
    """USD for one input and one output token, from the settings, else from litellm's list, else None."""
    if model == SANDBOX_MODEL:
        return 0.0, 0.0
    if model == settings.model and settings.input_price is not None and settings.output_price is not None:
        return settings.input_price / 1e6, settings.output_price / 1e6
    try:
        prompt, completion = litellm.cost_per_token(model=model, prompt_tokens=1, completion_tokens=1)
    except (exceptions.ModelNotMappedError, exceptions.BadRequestError):
        return None
    return float(prompt), float(completion)


def missing_keys(model: str, settings: Service) -> list[str]:
    """The environment variables with a key that the model needs and that are not set.

    Raises InputError where litellm knows no provider for the model.
    """
    try:
        litellm.get_llm_provider(model)
    except exceptions.BadRequestError:
        raise InputError(
            f"{model!r}: no provider is known for this model",
            'name it as litellm does, "openai/NAME" for an OpenAI-compatible endpoint, or use "sandbox"',
        ) from None
    if model == settings.model and settings.api_key_env:
        return [] if os.environ.get(settings.api_key_env) else [settings.api_key_env]
    return [str(name) for name in litellm.validate_environment(model)["missing_keys"]]
