"""What litellm knows of a model: its provider, its price, its key. Only here is litellm imported."""

from __future__ import annotations

import difflib
import functools
import importlib
import os
import warnings
from collections.abc import Mapping
from typing import Any

import httpx

from engine.protocol.errors import InputError
from engine.service import catalog
from engine.service.access import ACCESS, Access
from engine.service.providers import PROVIDERS
from engine.settings.schema import SANDBOX_MODEL, Service

NEAR = 0.8
"""How much alike, from 0 to 1, an unknown name of a model and a listed one must be to be the one that was meant."""

BATCH_PRICE = 0.5
"""The usual price of a batch call, over that of a direct one."""

NO_KEY = "none"
"""Sent to an address of the user's own where the environment has no key: most local servers need none, but the
libraries of some providers refuse to send a request without one."""

PRICES_HINT = "set input_price and output_price in [service], or in [service] models for another judge"


@functools.cache
def load_litellm() -> Any:
    """litellm, imported at the first call (which takes seconds) and set up for this process.

    Sets environment variables: without them litellm fetches its price list at its import, and a list of headers at
    the first call to Anthropic, which stalls where there is no network. Its own look-ups of a model, which block the
    event loop, are refused.
    """
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    import litellm

    importlib.import_module("openai.resources")  # else at the first call, on the event loop, for half a second

    # pydantic prints the values that a response has wrongly, where a server may echo a key.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
    litellm.suppress_debug_info = True
    litellm.drop_params = True
    litellm.telemetry = False
    litellm.module_level_client.client.event_hooks = {"request": [_refuse_lookups]}
    return litellm


def log_no_call() -> None:
    """Keep litellm, for the calls of this task, from writing each one's log, which nobody reads: a third of its work.

    The log of a failure holds its traceback, searched for secrets. What a call returns or raises stays the same.
    """
    from litellm._internal_context import is_internal_call

    is_internal_call.set(True)


def _refuse_lookups(request: httpx.Request) -> None:
    """Keep litellm from asking for more than it is asked: what a model is, of Ollama or the Hugging Face Hub.

    It does so after each response, to price it, with its synchronous client, which real calls use only to fetch tokens
    by POST. litellm takes a look-up that fails as a model that it does not know.
    """
    if request.method == "GET" or request.url.path.endswith("/api/show"):
        raise httpx.ConnectError("look-ups are off", request=request)


def litellm_name(model: str) -> str:
    """litellm's name for a model of our settings."""
    return f"openai/{SANDBOX_MODEL}" if model == SANDBOX_MODEL else model


def endpoint(model: str, settings: Service, sandbox_base: str | None = None) -> dict[str, Any]:
    """A model's address and key, as litellm's arguments; {} leaves both to litellm."""
    if model == SANDBOX_MODEL:
        return {"api_base": settings.api_base or sandbox_base, "api_key": "sandbox"}
    terms = settings.endpoint(model)
    arguments: dict[str, Any] = {}
    if terms.api_base:
        arguments["api_base"] = terms.api_base
    if terms.api_key_env:
        arguments["api_key"] = os.environ.get(terms.api_key_env)
    elif terms.api_base and _may_do_without_key(_access(model)):
        arguments["api_key"] = NO_KEY
    return arguments


@functools.cache
def supports_schema(model: str) -> bool:
    """Whether the model supports a JSON schema, as far as litellm knows."""
    return bool(load_litellm().supports_response_schema(model=litellm_name(model)))


@functools.cache
def max_output_tokens(model: str) -> int | None:
    """The most tokens of a completion, where litellm knows it: the model refuses a request for more."""
    litellm = load_litellm()
    try:
        limit: int | None = litellm.get_model_info(litellm_name(model)).get("max_output_tokens")
    except (litellm.exceptions.ModelNotMappedError, litellm.exceptions.BadRequestError):
        return None
    return limit


def price(model: str, settings: Service, *, batch: bool = False) -> tuple[float, float] | None:
    """USD for one input and one output token, from the settings, else from litellm's list, else None.

    In a batch they cost half, unless litellm's list knows better.
    """
    share = BATCH_PRICE if batch else 1.0
    if model == SANDBOX_MODEL:
        return 0.0, 0.0
    terms = settings.endpoint(model)
    if terms.input_price is not None and terms.output_price is not None:
        return share * terms.input_price / 1e6, share * terms.output_price / 1e6
    litellm = load_litellm()
    try:
        prompt, completion = litellm.cost_per_token(model=model, prompt_tokens=1, completion_tokens=1)
    except (litellm.exceptions.ModelNotMappedError, litellm.exceptions.BadRequestError):
        return None
    listed: Mapping[str, Any] = litellm.get_model_info(model) if batch else {}
    return (
        float(listed.get("input_cost_per_token_batches") or share * prompt),
        float(listed.get("output_cost_per_token_batches") or share * completion),
    )


@functools.cache
def batch_provider(model: str) -> str | None:
    """The name of the model's provider where it takes batches, else None."""
    provider = load_litellm().get_llm_provider(litellm_name(model))[1]
    takes_batches = any(known.name == provider and known.takes_batches for known in PROVIDERS)
    return provider if takes_batches and model != SANDBOX_MODEL else None


def missing_keys(model: str, settings: Service) -> list[str]:
    """The environment variables without which no call to the model can succeed, and that are not set.

    Together they would be enough. Raises InputError where litellm knows no provider for the model.
    """
    access = _access_by_litellm(model)
    terms = settings.endpoint(model)
    if terms.api_key_env:
        return [] if os.environ.get(terms.api_key_env) else [terms.api_key_env]
    return [] if terms.api_base and _may_do_without_key(access) else access.missing


def key_variable(model: str, settings: Service) -> str:
    """The environment variable of the model's key: the one in use, else the usual one; "" where none is known."""
    access = _access(model)
    usual = next((way[0] for way in access.ways if all(map(os.environ.get, way))), next(iter(access.ways), ("",))[0])
    return settings.endpoint(model).api_key_env or usual


def missing_address(model: str, settings: Service) -> list[str]:
    """The environment variables that could name the model's address, where neither one nor the settings do."""
    known = settings.endpoint(model).api_base or any(map(os.environ.get, _access(model).address))
    return [] if known else [*_access(model).address]


def missing_package(model: str) -> str:
    """The package that calls to the model need and that is not installed, else ""."""
    return _access(model).missing_package


def key_doubt(model: str, settings: Service) -> str:
    """What may keep the model from accepting us, and only a call can show; "" where there is no doubt.

    Raises InputError as `missing_keys` does.
    """
    access, terms = _access_by_litellm(model), settings.endpoint(model)
    if terms.api_key_env or access.open or missing_keys(model, settings):
        return ""
    if access.elsewhere:
        return f"no key of {model} is in the environment; its library also looks in {access.elsewhere}"
    if access.ways:
        return f"{access.missing[0]} is not in the environment: {terms.api_base} is asked without a key"
    if _provider(model) in ACCESS:
        return ""
    names: list[str] = load_litellm().validate_environment(model)["missing_keys"]
    missing = [name for name in names if not os.environ.get(name) and not (terms.api_base and name.endswith("_BASE"))]
    return f"{model}: {' or '.join(missing)} is not in the environment" if missing else ""


def _may_do_without_key(access: Access) -> bool:
    """Whether a server at an address of the user's own may take requests without a key; Azure's never do."""
    return bool(access.missing) and not access.address


def _access_by_litellm(model: str) -> Access:
    if not _provider(model):
        known = [*(one.name for one in catalog.listed()), SANDBOX_MODEL]
        nearest = difflib.get_close_matches(model, known, n=1, cutoff=NEAR)
        names = 'use a litellm model name, "openai/NAME" for an OpenAI-compatible endpoint, or "sandbox"'
        hint = f"did you mean {nearest[0]!r}? Else {names}" if nearest else names
        raise InputError(f"{model!r}: unknown provider", hint)
    return _access(model)


def _access(model: str) -> Access:
    """The ways to the model's provider, as the environment stands; none where the provider is not in the table."""
    return ACCESS.get(_provider(model), Access())


@functools.cache
def _provider(model: str) -> str:
    """litellm's name for the model's provider, else ""."""
    litellm = load_litellm()
    try:
        return str(litellm.get_llm_provider(model)[1])
    except litellm.exceptions.BadRequestError:
        return ""
