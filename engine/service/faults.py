"""What a service's errors mean: which pass, which concern one request alone, and how they are told to people."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

import httpx
from openai import APIConnectionError, APIResponseValidationError, OpenAIError

from engine.protocol.errors import ServiceError
from engine.service.headers import retry_after, used_up
from engine.service.models import exceptions
from engine.settings.schema import Service

TELL_EVERY_S = 30.0
"""Faults are told no more often."""

RETRIED_STATUS = (408, 409, 429)
REFUSALS = ("context_length_exceeded", "content_policy_violation", "content_filter", "invalid_prompt")
"""OpenAI's codes for a prompt that it will not answer; litellm knows some of them by their message alone."""


OUT_OF_CREDIT = ("exceeded your current quota", "credit balance is too low")


class Trouble:
    """Tells of faults, twice a minute at most, and never of a key."""

    def __init__(self, settings: Service, on_trouble: Callable[[str], None]) -> None:
        self._settings = settings
        self._key_names = {settings.api_key_env, *(terms.api_key_env for terms in settings.models.values())}
        self._on_trouble = on_trouble
        self.answered = time.monotonic()
        """When the service has answered last, or the work began."""
        self._told = -math.inf

    def over(self) -> None:
        """The service has answered."""
        self.answered = time.monotonic()

    def tell(self, error: OpenAIError, model: str) -> None:
        """Tell of a fault that passes."""
        now = time.monotonic()
        if now - self._told < TELL_EVERY_S:
            return
        self._told = now
        silent = now - self.answered
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
        elif error_status(error) in (401, 403):
            name = self._settings.terms(model).api_key_env
            hint = f"check the key in the environment ({name or 'as the provider names it'})"
        elif isinstance(error, exceptions.NotFoundError):
            hint = "check the model's name in [service] or [judge]"
        else:
            hint = "check [service] in the run's migration.toml, then resume"
        return ServiceError(f"{model} refuses: {self.say(error)}", hint)

    def say(self, error: Exception) -> str:
        """An error in one line without any key in it."""
        text = " ".join(str(error).split())
        for name, value in os.environ.items():
            if len(value) >= 8 and (name in self._key_names or name.endswith(("_KEY", "_TOKEN", "_SECRET"))):
                text = text.replace(value, f"${name}")
        return text[:300]


def concerns_one_request(error: OpenAIError) -> bool:
    """Whether the service serves others, but not this request, whatever we do."""
    if isinstance(error, exceptions.ContextWindowExceededError | exceptions.ContentPolicyViolationError):
        return True
    body = getattr(error, "body", None)
    return isinstance(body, dict) and body.get("code") in REFUSALS


def passes(error: OpenAIError) -> bool:
    """Whether trying again can help: limits, faults of the server or the network, answers that cannot be read."""
    if isinstance(error, APIConnectionError | APIResponseValidationError):
        return True
    status = error_status(error)
    if _out_of_credit(error):
        return False
    # 422 is also how litellm calls an answer of Gemini's that it cannot read.
    return status in RETRIED_STATUS or status >= 500 or (status == 422 and may_be_paid(error))


def may_be_paid(error: OpenAIError) -> bool:
    """Whether the service may have worked for an error that passes: it neither refused nor was out of reach."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    unpaid = httpx.HTTPStatusError | httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
    return not any(isinstance(cause, unpaid) for cause in causes)


def locks_out(error: OpenAIError) -> bool:
    """Whether the service will have nothing to do with us: a wrong key, or an empty account."""
    return error_status(error) in (401, 403) or _out_of_credit(error)


def error_status(error: OpenAIError) -> int:
    """The HTTP status that litellm gives an error; 0 for none."""
    return int(getattr(error, "status_code", None) or 0)


def pause(error: OpenAIError) -> float | None:
    """The seconds to wait that the service named."""
    headers = getattr(error, "litellm_response_headers", None) or {}
    return retry_after(headers) or used_up(headers, ("requests", "tokens")) or None


def _out_of_credit(error: OpenAIError) -> bool:
    """OpenAI says it with the status of a rate limit, Anthropic with that of a bad request; waiting does not help."""
    return error_status(error) == 402 or any(said in str(error) for said in OUT_OF_CREDIT)
