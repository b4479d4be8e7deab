"""The environments of a release's processes: of the user's secrets, only those that each of them needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from engine.protocol.secrets import HUB, without_secrets
from engine.service.key_variables import service_keys
from engine.settings.schema import Migration


def for_release(settings: Migration, environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a release needs: keys of the service, which judges answers, and of the Hub."""
    return without_secrets(environment, settings.key_names, {*HUB, *service_keys(settings, environment)})


def for_serving(names: Collection[str], environment: Mapping[str, str], key_env: str | None) -> dict[str, str]:
    """The part of an environment that the keeper of a server needs: the key that its clients show, and no other.

    `names` are secrets whatever they hold.
    """
    keep = {key_env} if key_env else set()
    return without_secrets(environment, {*names, *keep}, keep)


def for_tools(settings: Migration, environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a tool needs which only reads and writes files: no key, and no Hub."""
    return without_secrets(environment, settings.key_names) | {"HF_HUB_OFFLINE": "1"}
