"""What a service's errors mean: which are transient, which concern one request alone, and how users read of them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

import httpx
from openai import APIConnectionError, APIResponseValidationError, NotFoundError, OpenAIError

from engine.protocol.errors import ServiceError
from engine.service.headers import retry_after, seconds_until_reset
from engine.service.models import load_litellm
from engine.service.providers import PROVIDERS
from engine.settings.schema import Service

REPORT_EVERY_S = 30.0
"""Faults are reported no more often."""

RETRIED_STATUS = (408, 409, 429)
REFUSAL_CODES = {code for provider in PROVIDERS for code in provider.refusal_codes}
"""Litellm knows some of these refusals by their message alone."""

NO_CREDIT = [provider.no_credit for provider in PROVIDERS if provider.no_credit]


class FaultReporter:
    """Reports faults, twice a minute at most, and never shows a key."""

    def __init__(self, settings: Service, on_trouble: Callable[[str], None]) -> None:
        self._settings = settings
        self._key_names = {settings.api_key_env, *(terms.api_key_env for terms in settings.models.values())}
        self._on_trouble = on_trouble
        self.last_success = time.monotonic()
        """When the service last completed a call, or the work began, on the monotonic clock."""
        self._last_report = -math.inf

    def recovered(self) -> None:
        """The service has completed a call."""
        self.last_success = time.monotonic()

    def report(self, error: OpenAIError, model: str) -> None:
        """Report a transient fault."""
        now = time.monotonic()
        if now - self._last_report < REPORT_EVERY_S:
            return
        self._last_report = now
        silent = now - self.last_success
        if silent < REPORT_EVERY_S:
            self._on_trouble(f"{model} returned an error, retrying: {self.describe(error)}")
        else:
            since = time.strftime("%H:%M:%S", time.localtime(time.time() - silent))
            self._on_trouble(f"waiting for {model}, no reply since {since} ({silent:.0f} s): {self.describe(error)}")

    def gave_up(self, error: OpenAIError, model: str) -> ServiceError:
        """The error that ends a run whose service stays away."""
        return ServiceError(
            f"{model} cannot be reached: {self.describe(error)}",
            "check the network, api_base and the provider's status, then resume; finished calls are kept",
        )

    def unusable(self, error: OpenAIError, model: str) -> ServiceError:
        """The error that ends a run that its service refuses."""
        if _out_of_credit(error):
            hint = "top up the account with the provider, then resume; finished calls are kept"
        elif error_status(error) in (401, 403):
            name = self._settings.endpoint(model).api_key_env
            hint = f"check the API key in the environment ({name or 'the provider names the variable'})"
        elif isinstance(error, NotFoundError):
            hint = "check the model name in [service] or [judge]"
        else:
            hint = "check [service] in the run's migration.toml, then resume"
        return ServiceError(f"{model} rejects the request: {self.describe(error)}", hint)

    def describe(self, error: Exception) -> str:
        """An error in one line without any key in it."""
        text = " ".join(str(error).split())
        for name, value in os.environ.items():
            if len(value) >= 8 and (name in self._key_names or name.endswith(("_KEY", "_TOKEN", "_SECRET"))):
                text = text.replace(value, f"${name}")
        return text[:300]


def rejects_one_request(error: OpenAIError) -> bool:
    """Whether the service refuses this request alone, at every try."""
    exceptions = load_litellm().exceptions
    if isinstance(error, exceptions.ContextWindowExceededError | exceptions.ContentPolicyViolationError):
        return True
    body = getattr(error, "body", None)
    return isinstance(body, dict) and body.get("code") in REFUSAL_CODES


def is_transient(error: OpenAIError) -> bool:
    """Whether a retry can help: rate limits, faults of the server or the network, unreadable responses."""
    if isinstance(error, APIConnectionError | APIResponseValidationError):
        return True
    status = error_status(error)
    if _out_of_credit(error):
        return False
    # litellm gives 422 also to a response of Gemini's that it cannot read.
    return status in RETRIED_STATUS or status >= 500 or (status == 422 and may_be_billed(error))


def may_be_billed(error: OpenAIError) -> bool:
    """Whether the service may bill a transient error: it neither refused nor was out of reach."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    unpaid = httpx.HTTPStatusError | httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
    return not any(isinstance(cause, unpaid) for cause in causes)


def locks_out(error: OpenAIError) -> bool:
    """Whether the service refuses all requests: a wrong key, or an empty account."""
    return error_status(error) in (401, 403) or _out_of_credit(error)


def error_status(error: OpenAIError) -> int:
    """The HTTP status that litellm gives an error; 0 for none."""
    return int(getattr(error, "status_code", None) or 0)


def retry_delay(error: OpenAIError) -> float | None:
    """Seconds until the next try, where the service names them."""
    headers = getattr(error, "litellm_response_headers", None) or {}
    return retry_after(headers) or seconds_until_reset(headers, ("requests", "tokens")) or None


def _out_of_credit(error: OpenAIError) -> bool:
    """OpenAI sends it with the status of a rate limit, Anthropic with that of a bad request; waiting does not help."""
    return error_status(error) == 402 or any(message in str(error) for message in NO_CREDIT)
