"""Who may reach a door, by its address and its key, and when the local model may answer behind it."""

from __future__ import annotations

from engine.protocol.decision import FinalDecision
from engine.protocol.errors import InputError
from engine.protocol.secrets import key_of
from engine.protocol.takeover import DoorSettings, Mode, may_answer

LEAST_KEY = 8
"""Characters of a door's key."""

PROVEN_MODES = (Mode.LOCAL_FIRST, Mode.LOCAL_ONLY)
"""Modes in which the local model answers everything, without a canary before."""


def check_mode(mode: Mode, final: FinalDecision | None, anyway: bool) -> None:
    """Raise InputError where the local model would answer although nothing shows that it may."""
    if mode in PROVEN_MODES and not may_answer(final) and not anyway:
        why = "it has not ended" if final is None else "neither the task nor a part of it may move"
        raise InputError(
            f"--mode {mode.value}: the run does not show that the local model may answer: {why}",
            "use --mode shadow or canary, which find out; or --anyway",
        )


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
