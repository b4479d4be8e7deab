"""The environment variable of a service model's key, and whether it is set; its value is never shown."""

from __future__ import annotations

import os
from typing import NamedTuple

from engine.service.providers import provider_of
from engine.settings.schema import SANDBOX_MODEL


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
    name = api_key_env or _variable(model)
    if name is None:
        return ServiceKey(model, None, False, "the pre-flight check finds which key it needs")
    present = bool(os.environ.get(name))
    return ServiceKey(model, name, present, "is present" if present else "is missing: export it first")


def _variable(model: str) -> str | None:
    """The provider's variable that is set, else its first."""
    provider = provider_of(model)
    if provider is None:
        return None
    return next((name for name in provider.keys if os.environ.get(name)), provider.keys[0])
