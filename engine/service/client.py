"""Ask the service LLM, through litellm: cached, limited, within the budget, patient with its faults."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openai import OpenAIError

from engine.config import SANDBOX_MODEL, Service
from engine.errors import ServiceError
from engine.rows import Message
from engine.service.budget import Budget
from engine.service.ledger import Ledger, Reply, request_key
from engine.service.limiter import Limiter
from engine.service.models import exceptions, litellm, litellm_name, price

FIRST_PATIENCE_S = 15.0
"""How long to retry a service that has never answered in this run: most likely it is set up wrongly."""

RETRIED_STATUS = (408, 409, 429)


class RefusedError(Exception):
    """The service will not answer this one request, whatever we do; others are not concerned."""


@dataclass(slots=True)
class Usage:
    """Totals of the run so far."""

    calls: int = 0
    cached_calls: int = 0
    failed_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


class Client:
    """One for all stages of a worker, so that limits, ledger and budget are shared."""

    def __init__(
        self,
        settings: Service,
        ledger: Ledger,
        *,
        sandbox_base: str | None = None,
        on_change: Callable[[Usage], None] = lambda _: None,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        totals = ledger.totals()
        self.usage = Usage(totals.calls, 0, 0, totals.prompt_tokens, totals.completion_tokens, totals.cost_usd)
        self._settings = settings
        self._ledger = ledger
        self._sandbox_base = sandbox_base
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._limiter = Limiter(settings.rpm, settings.tpm, settings.concurrency)
        self._budget = Budget(settings.budget_usd, totals.cost_usd)
        self._in_flight: dict[str, asyncio.Task[Reply]] = {}

    async def complete(
        self, messages: list[Message], *, model: str, max_tokens: int, temperature: float, repeat: int = 0
    ) -> Reply:
        """The reply to a chat; an identical request (of the same repeat) is paid once.

        Raises RefusedError for this request alone, ServiceError where the service cannot be used.
        """
        params = {"temperature": temperature, "max_tokens": max_tokens, **self._settings.params}
        request = {"model": model, "messages": messages, "params": params, "repeat": repeat}
        key = request_key(request)
        known = self._ledger.reply(key)
        if known is None and key not in self._in_flight:
            task = asyncio.create_task(self._pay(key, request))
            self._in_flight[key] = task
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
            return await task
        if known is None:
            known = await asyncio.shield(self._in_flight[key])
        self.usage.cached_calls += 1
        self._on_change(self.usage)
        return known

    async def _pay(self, key: str, request: dict[str, Any]) -> Reply:
        most = self._most(request)
        await self._budget.reserve(most)
        cost = 0.0
        try:
            self._ledger.asking(key, request)
            reply = await self._ask_until_answered(request)
            cost = reply.cost_usd
            self._ledger.answered(key, reply)
        finally:
            await self._budget.settle(most, cost)
        self.usage.calls += 1
        self.usage.prompt_tokens += reply.prompt_tokens
        self.usage.completion_tokens += reply.completion_tokens
        self.usage.cost_usd += reply.cost_usd
        self._on_change(self.usage)
        return reply

    async def _ask_until_answered(self, request: dict[str, Any]) -> Reply:
        began, tries = time.monotonic(), 0
        while True:
            try:
                async with self._limiter.slot(_rough_tokens(request)):
                    return await self._ask(request)
            except (exceptions.ContextWindowExceededError, exceptions.ContentPolicyViolationError) as error:
                raise RefusedError(self._say(error)) from None
            except OpenAIError as error:
                if not _passes(error):
                    raise self._unusable(error, request["model"]) from None
                tries += 1
                self._note_trouble(error)
                pause = _retry_after(error) or min(30.0, 0.5 * 2**tries) * random.uniform(0.5, 1.0)
                patience = self._settings.patience_s if self.usage.calls else FIRST_PATIENCE_S
                if time.monotonic() - began + pause > patience:
                    raise self._gave_up(error, request["model"]) from None
                if isinstance(error, exceptions.RateLimitError):
                    self._limiter.pause(pause)
                await asyncio.sleep(pause)

    async def _ask(self, request: dict[str, Any]) -> Reply:
        answer = await litellm.acompletion(
            model=litellm_name(request["model"]),
            messages=request["messages"],
            timeout=self._settings.timeout_s,
            num_retries=0,
            max_retries=0,
            **self._endpoint(request["model"]),
            **request["params"],
        )
        choice, usage = answer.choices[0], answer.usage
        prompt_price, completion_price = price(request["model"], self._settings) or (0.0, 0.0)
        return Reply(
            text=choice.message.content or "",
            finish_reason=choice.finish_reason or "stop",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost_usd=usage.prompt_tokens * prompt_price + usage.completion_tokens * completion_price,
        )

    def _endpoint(self, model: str) -> dict[str, Any]:
        if model == SANDBOX_MODEL:
            return {"api_base": self._settings.api_base or self._sandbox_base, "api_key": "sandbox"}
        if model != self._settings.model:
            return {}
        found: dict[str, Any] = {}
        if self._settings.api_base:
            found["api_base"] = self._settings.api_base
        if self._settings.api_key_env:
            found["api_key"] = os.environ.get(self._settings.api_key_env)
        return found

    def _most(self, request: dict[str, Any]) -> float:
        prompt_price, completion_price = price(request["model"], self._settings) or (0.0, 0.0)
        return _rough_tokens(request) * prompt_price + int(request["params"]["max_tokens"]) * completion_price

    def _note_trouble(self, error: Exception) -> None:
        self.usage.failed_calls += 1
        self._on_change(self.usage)
        self._on_trouble(f"the service answered with an error, trying again: {self._say(error)}")

    def _gave_up(self, error: Exception, model: str) -> ServiceError:
        return ServiceError(
            f"{model} cannot be reached: {self._say(error)}",
            "check the network, api_base and the provider's status, then resume: what was answered is kept",
        )

    def _unusable(self, error: Exception, model: str) -> ServiceError:
        if isinstance(error, exceptions.AuthenticationError | exceptions.PermissionDeniedError):
            hint = f"check the key in the environment ({self._settings.api_key_env or 'as the provider names it'})"
        elif isinstance(error, exceptions.NotFoundError):
            hint = "check the model's name in [service] or [judge]"
        else:
            hint = "check [service] in the run's migration.toml, then resume"
        return ServiceError(f"{model} refuses: {self._say(error)}", hint)

    def _say(self, error: Exception) -> str:
        """An error in one line without any key in it."""
        text = " ".join(str(error).split())
        for name, value in os.environ.items():
            if len(value) >= 8 and (name == self._settings.api_key_env or name.endswith(("_KEY", "_TOKEN", "_SECRET"))):
                text = text.replace(value, f"${name}")
        return text[:300]


def _passes(error: OpenAIError) -> bool:
    """Whether trying again can help: limits, faults of the server or the network."""
    if isinstance(error, exceptions.Timeout | exceptions.APIConnectionError | exceptions.APIResponseValidationError):
        return True
    status = int(getattr(error, "status_code", None) or 0)
    return status in RETRIED_STATUS or status >= 500


def _rough_tokens(request: dict[str, Any]) -> int:
    """Tokens of a prompt, rather too many: three characters each."""
    return sum(len(message["content"]) for message in request["messages"]) // 3 + 16


def _retry_after(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after") if response is not None else None
    try:
        return min(300.0, max(0.0, float(value))) if value else None
    except ValueError:
        return None
