"""Ask the service LLM, through litellm: cached, limited, within the budget, patient with its faults."""

from __future__ import annotations

import asyncio
import os
import random
import re
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

LONGEST_PAUSE_S = 300.0
RETRIED_STATUS = (408, 409, 429)
REFUSALS = ("context_length_exceeded", "content_policy_violation", "content_filter", "invalid_prompt")
"""OpenAI's codes for a prompt that it will not answer; litellm knows some of them by their message alone."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can hold and UTF-8 cannot."""


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
        gate: asyncio.Event | None = None,
        on_change: Callable[[Usage], None] = lambda _: None,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        totals = ledger.totals()
        self.usage = Usage(totals.calls, 0, 0, totals.prompt_tokens, totals.completion_tokens, totals.cost_usd)
        self._settings = settings
        self._ledger = ledger
        self._sandbox_base = sandbox_base
        self._gate = gate
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
        while (known := self._ledger.reply(key)) is None:
            if key not in self._in_flight:
                task = asyncio.create_task(self._pay(key, request))
                self._in_flight[key] = task
                task.add_done_callback(lambda _: self._in_flight.pop(key, None))
                return await task
            same = self._in_flight[key]
            await asyncio.wait([same])
            if not same.cancelled():
                same.result()  # what it failed of, we failed of too
        self.usage.cached_calls += 1
        self._on_change(self.usage)
        return known

    async def _pay(self, key: str, request: dict[str, Any]) -> Reply:
        most = self._most(request)
        async with self._limiter.slot():
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
        tokens = _rough_tokens(request)
        tries, give_up = 0, 0.0
        while True:
            if self._gate is not None:
                await self._gate.wait()
            await self._limiter.turn(tokens)
            try:
                reply = await self._ask(request)
                self._limiter.correct(reply.prompt_tokens + reply.completion_tokens - tokens)
                return reply
            except OpenAIError as error:
                if _concerns_this_request(error):
                    raise RefusedError(self._say(error)) from None
                if not _passes(error):
                    raise self._unusable(error, request["model"]) from None
                tries += 1
                self._note_trouble(error)
                pause = _retry_after(error) or min(30.0, 0.5 * 2**tries) * random.uniform(0.5, 1.0)
                give_up = give_up or time.monotonic() + self._patience(error)
                if time.monotonic() + pause > give_up:
                    raise self._gave_up(error, request["model"]) from None
                if isinstance(error, exceptions.RateLimitError):
                    self._limiter.pause(pause)
                await asyncio.sleep(pause)

    def _patience(self, error: OpenAIError) -> float:
        answers = self.usage.calls > 0 or isinstance(error, exceptions.RateLimitError)
        return self._settings.patience_s if answers else min(FIRST_PATIENCE_S, self._settings.patience_s)

    async def _ask(self, request: dict[str, Any]) -> Reply:
        answer = await litellm.acompletion(
            model=litellm_name(request["model"]),
            messages=[{**message, "content": _whole(message["content"])} for message in request["messages"]],
            timeout=self._settings.timeout_s,
            num_retries=0,
            max_retries=0,
            **self._endpoint(request["model"]),
            **request["params"],
        )
        if answer is None:  # litellm's way to say that a request is malformed, whatever parameters it drops
            raise ServiceError(f"{request['model']} refuses the request", "check [service] params, then resume")
        if not answer.choices:
            raise exceptions.InternalServerError("the reply holds no choice", "", request["model"])
        choice, usage = answer.choices[0], answer.usage
        text = _whole(choice.message.content or "")
        # A service that doesn't count is booked by our own, generous count.
        prompt_tokens = usage.prompt_tokens if usage.prompt_tokens > 0 else _rough_tokens(request)
        completion_tokens = usage.completion_tokens if usage.completion_tokens > 0 else _most_tokens(text)
        prompt_price, completion_price = price(request["model"], self._settings) or (0.0, 0.0)
        return Reply(
            text=text,
            finish_reason=choice.finish_reason or "stop",
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=prompt_tokens * prompt_price + completion_tokens * completion_price,
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
        prompt_tokens = sum(_most_tokens(message["content"]) + 16 for message in request["messages"])
        return prompt_tokens * prompt_price + int(request["params"]["max_tokens"]) * completion_price

    def _note_trouble(self, error: Exception) -> None:
        self.usage.failed_calls += 1
        self._on_change(self.usage)
        self._on_trouble(f"the service answered with an error, trying again: {self._say(error)}")

    def _gave_up(self, error: Exception, model: str) -> ServiceError:
        return ServiceError(
            f"{model} cannot be reached: {self._say(error)}",
            "check the network, api_base and the provider's status, then resume: what was answered is kept",
        )

    def _unusable(self, error: OpenAIError, model: str) -> ServiceError:
        if _out_of_credit(error):
            hint = "top up the account at the provider, then resume: what was answered is kept"
        elif getattr(error, "status_code", None) in (401, 403):
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


def _concerns_this_request(error: OpenAIError) -> bool:
    if isinstance(error, exceptions.ContextWindowExceededError | exceptions.ContentPolicyViolationError):
        return True
    body = getattr(error, "body", None)
    return isinstance(body, dict) and body.get("code") in REFUSALS


def _passes(error: OpenAIError) -> bool:
    """Whether trying again can help: limits, faults of the server or the network."""
    if isinstance(error, exceptions.Timeout | exceptions.APIConnectionError | exceptions.APIResponseValidationError):
        return True
    status = int(getattr(error, "status_code", None) or 0)
    if _out_of_credit(error):
        return False
    return status in RETRIED_STATUS or status >= 500


def _out_of_credit(error: OpenAIError) -> bool:
    """OpenAI says it with the status of a rate limit, but waiting does not help."""
    return getattr(error, "status_code", None) == 402 or "exceeded your current quota" in str(error)


def _whole(text: str) -> str:
    return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _rough_tokens(request: dict[str, Any]) -> int:
    """Tokens of a prompt, rather too many: three bytes each."""
    return sum(_most_tokens(message["content"]) for message in request["messages"]) // 3 + 16


def _most_tokens(text: str) -> int:
    """An upper bound for the tokens of a text: tokenizers make at most one of a byte."""
    return len(text.encode(errors="surrogatepass"))


def _retry_after(error: Exception) -> float | None:
    """The seconds to wait that the service named; litellm keeps its headers aside."""
    headers = getattr(error, "litellm_response_headers", None) or {}
    try:
        return min(LONGEST_PAUSE_S, max(0.0, float(headers.get("retry-after", ""))))
    except ValueError:
        return None
