"""Who may reach a door: the address that it listens on, and the key that it asks for."""

from __future__ import annotations

from engine.protocol.errors import InputError
from engine.protocol.secrets import key_of
from engine.protocol.takeover import DoorSettings

LEAST_KEY = 8
"""Characters of a door's key."""


def check_bind(settings: DoorSettings) -> None:
    """Raise InputError where a door would be open to others without a key."""
    if settings.loopback:
        return
    if not settings.key_env:
        raise InputError(
            f"--host {settings.host}: other machines could use the service's account without a key",
            "name the environment variable with the door's key: --key-env NAME",
        )


def door_key(settings: DoorSettings) -> str:
    """The key that clients must show, "" where none is asked for. Raises InputError where its variable is empty."""
    check_bind(settings)
    key = key_of(settings.key_env, "takeover.key_env")
    if settings.key_env and len(key) < LEAST_KEY:
        raise InputError(
            f"takeover.key_env: {settings.key_env} holds no key of at least {LEAST_KEY} characters",
            f"export {settings.key_env}=...",
        )
    return key
