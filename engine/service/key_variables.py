"""The environment variables with the keys that a run's service and judges need, for processes that get no others."""

from __future__ import annotations

from collections.abc import Iterable

from engine.service.access import ACCESS
from engine.service.providers import provider_of
from engine.settings.schema import Migration


def service_keys(settings: Migration, environment: Iterable[str]) -> set[str]:
    """The variables, of those of an environment where the provider of a model is unknown."""
    names = set[str]()
    for model in (settings.service.model, *settings.judge_models):
        own = settings.service.endpoint(model).api_key_env
        names |= {own} if own else _keys_of(model, environment)
    return names


def _keys_of(model: str, environment: Iterable[str]) -> set[str]:
    """The variables that the provider of a model may read; of one that is unknown, those that begin with its name."""
    provider = provider_of(model)
    name = provider.name if provider is not None else model.partition("/")[0]
    keys = {*provider.keys} if provider is not None else set()
    if name in ACCESS:
        return keys | {variable for way in ACCESS[name].ways for variable in way}
    return keys | {variable for variable in environment if variable.upper().startswith(f"{name.upper()}_")}
