"""The environment variable of a service model's key, and whether it is set; its value is never shown."""

from __future__ import annotations

import os
from typing import NamedTuple

from engine.service.access import ACCESS
from engine.service.providers import provider_of
from engine.settings.schema import SANDBOX_MODEL
from llamaduo_tui.views.draft import Draft


class ServiceKey(NamedTuple):
    """The state of a model's key: `name` is the variable, None where none is needed or known."""

    model: str
    name: str | None
    present: bool
    detail: str


def service_key(model: str, api_key_env: str | None) -> ServiceKey:
    """The key of a model; `api_key_env` is the variable that the settings name for it."""
    if model == SANDBOX_MODEL:
        return ServiceKey(model, None, True, "the sandbox needs no key")
    access = ACCESS.get(model.partition("/")[0])
    if api_key_env is None and access is not None and not access.ways:
        return ServiceKey(model, None, True, "needs no key")
    name = api_key_env or _variable(model)
    if name is None:
        return ServiceKey(model, None, False, "the pre-flight finds which key it needs")
    present = bool(os.environ.get(name))
    return ServiceKey(model, name, present, "is present" if present else "is missing: export it first")


def keys_of(draft: Draft, section: str) -> list[ServiceKey]:
    """The keys of the models in a section of the settings: the judges' where it names some, else the service's."""
    service, judges = draft["service", "model"], draft["judge", "models"]
    models = judges if section == "judge" and isinstance(judges, list) and judges else [service]
    endpoints = draft["service", "models"]
    named = {service: draft["service", "api_key_env"]} if isinstance(service, str) else {}
    for model, endpoint in (endpoints if isinstance(endpoints, dict) else {}).items():
        if isinstance(endpoint, dict):
            named[model] = endpoint.get("api_key_env")
    known = {model: name for model, name in named.items() if isinstance(name, str)}
    return [service_key(model, known.get(model)) for model in models if isinstance(model, str) and model]


def _variable(model: str) -> str | None:
    """The provider's variable that is set, or the first of those that are set together, else its first key."""
    provider = provider_of(model)
    if provider is None:
        return None
    ways = ACCESS[provider.name].ways
    return next((way[0] for way in ways if all(map(os.environ.get, way))), provider.keys[0])
