"""Which environment variable holds a service model's key, and whether it is set; its value is never read out."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from engine.preflight.doctor import KEYS
from engine.settings.schema import SANDBOX_MODEL

_BARE = {"OPENAI_API_KEY": r"gpt-|chatgpt-|o\d", "ANTHROPIC_API_KEY": r"claude-"}
"""How models begin that litellm knows without their provider's name in front."""


class ServiceKey(NamedTuple):
    """The state of a model's key: the variable's `name`, None where none is needed or known."""

    model: str
    name: str | None
    present: bool
    said: str


def service_key(model: str, api_key_env: str | None) -> ServiceKey:
    """The key of a model; `api_key_env` is the variable that the settings name for it."""
    if model == SANDBOX_MODEL:
        return ServiceKey(model, None, True, "the sandbox needs no key")
    name = api_key_env or _usual(model)
    if name is None:
        return ServiceKey(model, None, False, "the pre-flight finds out which key it needs")
    present = bool(os.environ.get(name))
    return ServiceKey(model, name, present, "is present" if present else "is missing: export it first")


def _usual(model: str) -> str | None:
    provider, slash, _ = model.partition("/")
    if slash:
        return next((name for name in KEYS if name == f"{provider.upper()}_API_KEY"), None)
    return next((name for name, begins in _BARE.items() if re.match(begins, model)), None)
