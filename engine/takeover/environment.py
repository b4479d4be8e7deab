"""The environment of a take-over's processes: of the user's secrets, only those that the door itself needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from engine.protocol.secrets import without_secrets
from engine.service.access import ACCESS
from engine.service.providers import provider_of
from engine.settings.schema import Migration


def needed(settings: Migration, environment: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str]:
    """The part of an environment that a door and its keeper need.

    These are the keys of the service and of the judges, and those that the take-over names: in the settings, or in
    `named`. The keys of other providers, of the Hub, of trackers and of messages stay outside.
    """
    keep = {*named, settings.takeover.key_env or "", settings.takeover.local_key_env or ""}
    for model in (settings.service.model, *settings.judge_models):
        own = settings.service.endpoint(model).api_key_env
        keep |= {own} if own else _keys_of(model, environment)
    return without_secrets(environment, settings.key_names | {*named}, keep)


def _keys_of(model: str, environment: Mapping[str, str]) -> set[str]:
    """The variables that the provider of a model may read; of one that is unknown, those that begin with its name."""
    provider = provider_of(model)
    name = provider.name if provider is not None else model.partition("/")[0]
    keys = {*provider.keys} if provider is not None else set()
    if name in ACCESS:
        return keys | {variable for way in ACCESS[name].ways for variable in way}
    return keys | {variable for variable in environment if variable.upper().startswith(f"{name.upper()}_")}
