"""What would fail, found before anything is started or paid for."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import litellm
from litellm import exceptions

from engine.config import SANDBOX_MODEL, Migration
from engine.errors import InputError, LlamaDuoError, ServiceError
from engine.service import prompts
from engine.service.client import price

CONNECT_S = 5.0
LEAST_DISK_BYTES = 2**30 // 4


def raise_problems(settings: Migration) -> None:
    """Raise the first problem: a worker that cannot succeed should not begin."""
    for problem in problems(settings):
        raise problem


def problems(settings: Migration) -> Iterator[LlamaDuoError]:
    """Everything about the service that would fail; nothing is asked of a model."""
    try:
        prompts.load(settings.judge.prompts)
    except InputError as error:
        yield error
    for model in dict.fromkeys([settings.service.model, *settings.judge_models]):
        if model != SANDBOX_MODEL:
            yield from _model_problems(settings, model)
    if settings.service.api_base:
        yield from _connection_problems(settings.service.api_base)


def _model_problems(settings: Migration, model: str) -> Iterator[LlamaDuoError]:
    service = settings.service
    try:
        _, provider, _, _ = litellm.get_llm_provider(model)
    except exceptions.BadRequestError:
        yield InputError(
            f"{model!r}: no provider is known for this model",
            'name it as litellm does, "openai/NAME" for an OpenAI-compatible endpoint, or use "sandbox"',
        )
        return
    if model == service.model and service.api_key_env:
        missing = [] if os.environ.get(service.api_key_env) else [service.api_key_env]
    else:
        missing = litellm.validate_environment(model)["missing_keys"]
    if missing:
        yield InputError(
            f"{model}: no API key: {' or '.join(missing)} is not in the environment",
            f"export {missing[0]}=..., or name another variable in [service] api_key_env",
        )
    if service.budget_usd is not None and price(model, service) is None:
        yield InputError(
            f"{model}: has no known price ({provider}), so the budget cannot be kept",
            "give [service] input_price and output_price, or leave budget_usd out",
        )


def _connection_problems(address: str) -> Iterator[LlamaDuoError]:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield InputError(f"service.api_base: {address!r} is no http(s) address", "such as http://127.0.0.1:8000/v1")
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        yield ServiceError(
            f"{address} cannot be reached: {reason}", "start that server, or correct [service] api_base; then resume"
        )


def disk_problem(folder: str) -> LlamaDuoError | None:
    """Whether too little disk is left to begin at all."""
    free = shutil.disk_usage(folder).free
    if free >= LEAST_DISK_BYTES:
        return None
    return LlamaDuoError(
        f"{folder}: only {free // 2**20} MiB of disk are free", "free some space, or choose another --runs-dir"
    )
