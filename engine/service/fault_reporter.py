"""How users read of a service's faults: warnings now and then, and the errors that end a run, each with a hint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from openai import OpenAIError

from engine.protocol.errors import ServiceError
from engine.protocol.secrets import without_keys
from engine.service.faults import Fault, Kind, fault_of, of_account
from engine.service.models import key_variable
from engine.settings.schema import Service

REPORT_EVERY_S = 30.0
"""Faults are reported no more often."""


class FaultReporter:
    """Reports faults, twice a minute at most, and never shows a key."""

    def __init__(self, settings: Service, on_trouble: Callable[[str], None]) -> None:
        self._settings = settings
        self._on_trouble = on_trouble
        self._began = time.monotonic()
        self._last_success: dict[str, float] = {}
        self._last_report = -math.inf

    def recovered(self, what: str) -> None:
        """A model, or what else is named in reports, has completed a call."""
        self._last_success[what] = time.monotonic()

    def last_success(self, what: str) -> float:
        """When it last completed a call, or the work began, on the monotonic clock."""
        return self._last_success.get(what, self._began)

    def report(self, error: OpenAIError | Fault, model: str, began: float) -> None:
        """Report a transient fault of a call that has failed since `began`, on the monotonic clock.

        Hours of training without a call are no silence of the service: it is counted from the first call that failed.
        """
        now = time.monotonic()
        if now - self._last_report < REPORT_EVERY_S:
            return
        self._last_report = now
        silent = now - max(began, self.last_success(model))
        if silent < REPORT_EVERY_S:
            self._on_trouble(f"{model} returned an error, retrying: {self.describe(error)}")
        else:
            since = time.strftime("%H:%M:%S", time.localtime(time.time() - silent))
            self._on_trouble(f"waiting for {model}, no reply since {since} ({silent:.0f} s): {self.describe(error)}")

    def gave_up(self, error: OpenAIError | Fault, model: str) -> ServiceError:
        """The error that ends a run whose service stays away."""
        fault = error if isinstance(error, Fault) else fault_of(error)
        patience = f"{self._settings.patience_s:g} s"
        later = "finished calls are kept"
        if fault.kind is Kind.LIMIT:
            what = f"{model} still limits requests after {patience}"
            hint = (
                f"wait until the limit resets (it may be a daily one) or raise service.patience_s, then resume; {later}"
            )
        elif fault.timeout and not fault.unsent:
            what = f"{model} completed no call within {self._settings.timeout_s:g} s each, for {patience}"
            hint = f"raise service.timeout_s or lower concurrency, or wait for the provider, then resume; {later}"
        elif fault.network or fault.status == 0:
            what = f"{model} cannot be reached"
            hint = f"check the network, api_base and the provider's status, then resume; {later}"
        elif fault.billed:
            what = f"{model} returns responses that cannot be read"
            hint = f"check that api_base leads to an OpenAI-compatible endpoint, then resume; {later}"
        elif fault.kind is Kind.UNCLEAR:
            what = f"{model} rejects all requests for {patience}, though it took earlier ones"
            hint = f"check the account, the key and the model's name with the provider, then resume; {later}"
        else:
            what = f"{model} still fails after {patience}"
            hint = f"check the provider's status, then resume; {later}"
        return ServiceError(f"{what}: {self.describe(fault)}", hint)

    def unusable(self, error: OpenAIError | Fault, model: str) -> ServiceError:
        """The error that ends a run that its service refuses."""
        fault = error if isinstance(error, Fault) else fault_of(error)
        name = key_variable(model, self._settings) or "the provider names the variable"
        text = fault.text
        if fault.unsent and "TLS" in fault.message:
            hint = "check api_base; for a company's own certificate, set SSL_CERT_FILE to its CA file; then resume"
        elif fault.unsent and "proxy" in fault.message:
            hint = "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY in the environment, then resume"
        elif fault.unsent:
            hint = "check the host in api_base, and the network, then resume"
        elif fault.status == 401 or "API key" in text or any("KEY" in code.upper() for code in fault.codes):
            hint = f"check the API key in the environment ({name}), then resume; finished calls are kept"
        elif fault.status == 402 or of_account(fault.codes, text):
            hint = "top up the account or raise its limit with the provider, then resume; finished calls are kept"
        elif fault.status == 403:
            hint = f"check the API key in the environment ({name}), and what it may do, then resume"
        elif fault.status == 404:
            hint = "check the model name in [service] or [judge], and api_base"
        else:
            hint = "check [service] in the run's migration.toml, its params too, then resume"
        verb = "cannot be reached" if fault.unsent else "rejects the request"
        return ServiceError(f"{model} {verb}: {self.describe(fault)}", hint)

    def describe(self, error: Exception | Fault) -> str:
        """An error in one line without any key in it."""
        message = error.message if isinstance(error, Fault) else fault_of(error).message
        return without_keys(message, self._settings.key_names)
