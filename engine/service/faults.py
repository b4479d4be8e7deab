"""What a service's errors mean: which pass, which concern one request alone, and how they are told to people."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from openai import APIConnectionError, APIResponseValidationError, OpenAIError

from engine.errors import ServiceError
from engine.service.headers import retry_after, used_up
from engine.service.models import exceptions

TELL_EVERY_S = 30.0
"""Faults are told no more often."""

RETRIED_STATUS = (408, 409, 429)
REFUSALS = ("context_length_exceeded", "content_policy_violation", "content_filter", "invalid_prompt")
"""OpenAI's codes for a prompt that it will not answer; litellm knows some of them by their message alone."""


class Trouble:
    """Tells of faults, twice a minute at most; `api_key_env` is where the key lies that is never told."""

    def __init__(self, api_key_env: str | None, on_trouble: Callable[[str], None]) -> None:
        self._api_key_env = api_key_env
        self._on_trouble = on_trouble
        self._answered, self._told = time.monotonic(), -math.inf

    def over(self) -> None:
        """The service has answered."""
        self._answered = time.monotonic()

    def tell(self, error: OpenAIError, model: str) -> None:
        """Tell of a fault that passes."""
        now = time.monotonic()
        if now - self._told < TELL_EVERY_S:
            return
        self._told = now
        silent = now - self._answered
        if silent < TELL_EVERY_S:
            self._on_trouble(f"{model} answered with an error, trying again: {self.say(error)}")
        else:
            since = time.strftime("%H:%M:%S", time.localtime(time.time() - silent))
            self._on_trouble(f"waiting for {model}, no answer since {since} ({silent:.0f} s): {self.say(error)}")

    def gave_up(self, error: OpenAIError, model: str) -> ServiceError:
        """What ends a run whose service stays away."""
        return ServiceError(
            f"{model} cannot be reached: {self.say(error)}",
            "check the network, api_base and the provider's status, then resume: what was answered is kept",
        )

    def unusable(self, error: OpenAIError, model: str) -> ServiceError:
        """What ends a run that its service will not serve."""
        if _out_of_credit(error):
            hint = "top up the account at the provider, then resume: what was answered is kept"
        elif getattr(error, "status_code", None) in (401, 403):
            hint = f"check the key in the environment ({self._api_key_env or 'as the provider names it'})"
        elif isinstance(error, exceptions.NotFoundError):
            hint = "check the model's name in [service] or [judge]"
        else:
            hint = "check [service] in the run's migration.toml, then resume"
        return ServiceError(f"{model} refuses: {self.say(error)}", hint)

    def say(self, error: Exception) -> str:
        """An error in one line without any key in it."""
        text = " ".join(str(error).split())
        for name, value in os.environ.items():
            if len(value) >= 8 and (name == self._api_key_env or name.endswith(("_KEY", "_TOKEN", "_SECRET"))):
                text = text.replace(value, f"${name}")
        return text[:300]


def concerns_one_request(error: OpenAIError) -> bool:
    """Whether the service serves others, but not this request, whatever we do."""
    if isinstance(error, exceptions.ContextWindowExceededError | exceptions.ContentPolicyViolationError):
        return True
    body = getattr(error, "body", None)
    return isinstance(body, dict) and body.get("code") in REFUSALS


def passes(error: OpenAIError) -> bool:
    """Whether trying again can help: limits, faults of the server or the network."""
    if isinstance(error, APIConnectionError | APIResponseValidationError):
        return True
    status = int(getattr(error, "status_code", None) or 0)
    if _out_of_credit(error):
        return False
    return status in RETRIED_STATUS or status >= 500


def locks_out(error: OpenAIError) -> bool:
    """Whether the service will have nothing to do with us: a wrong key, or an empty account."""
    return getattr(error, "status_code", None) in (401, 403) or _out_of_credit(error)


def pause(error: OpenAIError) -> float | None:
    """The seconds to wait that the service named."""
    headers = getattr(error, "litellm_response_headers", None) or {}
    return retry_after(headers) or used_up(headers, ("requests", "tokens")) or None


def _out_of_credit(error: OpenAIError) -> bool:
    """OpenAI says it with the status of a rate limit, but waiting does not help."""
    return getattr(error, "status_code", None) == 402 or "exceeded your current quota" in str(error)
