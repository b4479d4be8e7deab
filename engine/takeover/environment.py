"""The environment of a take-over's processes: of the user's secrets, only those that the door itself needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from engine.protocol.secrets import without_secrets
from engine.service.key_variables import service_keys
from engine.settings.schema import Migration


def needed(settings: Migration, environment: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str]:
    """The part of an environment that a door and its keeper need.

    These are the keys of the service and of the judges, and those that the take-over names: in the settings, or in
    `named`. The keys of other providers, of the Hub, of trackers and of messages stay outside.
    """
    own = {name for name in (settings.takeover.key_env, settings.takeover.local_key_env) if name}
    keep = {*named, *own, *service_keys(settings, environment)}
    return without_secrets(environment, settings.key_names | {*named}, keep)
