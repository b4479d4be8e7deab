"""The environment variable of a service model's key, and whether it is set; its value is never shown."""

from __future__ import annotations

import os
from typing import NamedTuple

from engine.service.access import ACCESS
from engine.service.providers import provider_of
from engine.settings.schema import SANDBOX_MODEL
from llamaduo_tui.views.draft import Draft
from llamaduo_tui.views.text import one_line


class ServiceKey(NamedTuple):
    """The state of a model's key: `name` is the variable, None where none is needed or known."""

    model: str
    name: str | None
    present: bool
    detail: str


def service_key(model: str, api_key_env: str | None, api_base: str | None = None) -> ServiceKey:
    """The key of a model; `api_key_env` and `api_base` are its variable and its address in the settings."""
    if model == SANDBOX_MODEL:
        return ServiceKey(model, None, True, "the sandbox needs no key")
    access = ACCESS.get(model.partition("/")[0])
    if api_key_env is None and access is not None and not access.ways:
        return ServiceKey(model, None, True, "needs no key")
    name = api_key_env or _variable(model)
    if name is None:
        return ServiceKey(model, None, False, "the pre-flight finds which key it needs")
    if os.environ.get(name):
        return ServiceKey(model, name, True, "is present")
    if api_base and api_key_env is None and not (access and access.address):  # as `models.missing_keys`: not Azure's
        return ServiceKey(model, name, True, f"is not set: {one_line(api_base, 60)} is asked without a key")
    return ServiceKey(model, name, False, "is missing: export it first")


def keys_of(draft: Draft, section: str) -> list[ServiceKey]:
    """The keys of the models in a section of the settings: the judges' where it names some, else the service's."""
    service, judges = draft["service", "model"], draft["judge", "models"]
    models = judges if section == "judge" and isinstance(judges, list) and judges else [service]
    endpoints = draft["service", "models"]
    own = endpoints if isinstance(endpoints, dict) else {}

    def of(model: str, setting: str) -> str | None:
        """A setting of a model's endpoint: its own, else the service's where it is the service."""
        endpoint = own.get(model)
        value = endpoint.get(setting) if isinstance(endpoint, dict) else None
        value = draft["service", setting] if value is None and model == service else value
        return value if isinstance(value, str) else None

    named = [model for model in models if isinstance(model, str) and model]
    return [service_key(model, of(model, "api_key_env"), of(model, "api_base")) for model in named]


def _variable(model: str) -> str | None:
    """The provider's variable that is set, or the first of those that are set together, else its first key."""
    provider = provider_of(model)
    if provider is None:
        return None
    ways = ACCESS[provider.name].ways
    return next((way[0] for way in ways if all(map(os.environ.get, way))), provider.keys[0])
