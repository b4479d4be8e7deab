"""What would fail in the judge's prompts, the contract, the service and the local backend, found without a call."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from engine.evaluation import contract
from engine.preflight.inference import inference_problems
from engine.preflight.proxies import proxy_of
from engine.preflight.training import missing_packages
from engine.protocol.errors import InputError, LlamaDuoError, ServiceError
from engine.service import prompts
from engine.service.models import (
    PRICES_HINT,
    batch_provider,
    key_doubt,
    missing_address,
    missing_keys,
    missing_package,
    price,
)
from engine.settings.schema import SANDBOX_MODEL, Migration
from engine.stages.earlier import earlier

CONNECT_S = 5.0
PROBE = "`llamaduo-tui check FILE --probe` asks it"


def raise_problems(settings: Migration) -> None:
    """Raise the first problem: a worker that cannot succeed should not begin."""
    for problem in problems(settings):
        raise problem


def problems(settings: Migration) -> Iterator[LlamaDuoError]:
    """Every problem, as an error that is not raised."""
    try:
        prompts.load(settings.judge.prompts)
    except InputError as error:
        yield error
    try:
        contract.load(settings.task.contract)
    except InputError as error:
        yield error
    try:
        earlier(settings)
    except InputError as error:
        yield error
    yield from missing_packages(settings.finetune)
    for model in _models(settings):
        yield from _model_problems(settings, model)
    if settings.service.batch and settings.uses_sandbox:
        yield _no_batch_api(SANDBOX_MODEL)
    for address in _addresses(settings):
        yield from _connection_problems(address)
    yield from inference_problems(settings.inference)


def doubts(settings: Migration) -> Iterator[str]:
    """What pre-flight cannot tell of the service, since only a call shows it."""
    found: dict[str, None] = {}
    for model in _models(settings):
        with suppress(InputError):  # a problem, which `problems` has
            found[key_doubt(model, settings.service)] = None
    yield from (f"{doubt}; {PROBE}" for doubt in found if doubt)
    for address in _addresses(settings):
        if _host_and_port(address) is not None and (proxy := proxy_of(address)) is not None:
            yield f"{address} is reached through the proxy {proxy} and was not checked; {PROBE}"


def _models(settings: Migration) -> list[str]:
    """The models of a provider, each once."""
    models = dict.fromkeys([settings.service.model, *settings.judge_models])
    return [model for model in models if model != SANDBOX_MODEL]


def _addresses(settings: Migration) -> list[str]:
    """The addresses in the settings, each once."""
    service = settings.service
    addresses = [service.api_base, *(endpoint.api_base for endpoint in service.models.values())]
    return [address for address in dict.fromkeys(addresses) if address]


def _model_problems(settings: Migration, model: str) -> Iterator[LlamaDuoError]:
    service = settings.service
    try:
        missing = missing_keys(model, service)
    except InputError as error:
        yield error
        return
    if missing:
        absent = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in the environment"
        yield InputError(
            f"{model}: no API key: {absent}",
            f"export {missing[0]}=..., or name another variable in [service] "
            + ("api_key_env" if model == service.model else "models"),
        )
    if addresses := missing_address(model, service):
        yield InputError(
            f"{model}: no address: litellm knows none for it",
            f"set api_base in [service]{'' if model == service.model else ' models'}, or export {addresses[0]}",
        )
    if package := missing_package(model):
        yield InputError(f"{model}: litellm needs the package {package} for it", f"pip install {package}")
    if service.batch and batch_provider(model) is None:
        yield _no_batch_api(model)
    if service.budget_usd is not None and price(model, service) is None:
        yield InputError(
            f"{model}: no known price, so budget_usd cannot be enforced",
            f"{PRICES_HINT}; or remove budget_usd",
        )


def _no_batch_api(model: str) -> LlamaDuoError:
    return InputError(f"{model}: has no batch API", "set [service] batch to false: only OpenAI and Azure have one")


def _connection_problems(address: str) -> Iterator[LlamaDuoError]:
    endpoint = _host_and_port(address)
    if endpoint is None:
        yield InputError(f"api_base: invalid address {address!r}", "use one such as http://127.0.0.1:8000/v1")
        return
    if proxy_of(address) is not None:  # only the proxy may be able to resolve its name
        return
    try:
        socket.create_connection(endpoint, timeout=CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        yield ServiceError(f"{address} cannot be reached: {reason}", "start that server, or correct [service] api_base")


def _host_and_port(address: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.scheme in ("http", "https") and parts.hostname else None
