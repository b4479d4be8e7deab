"""Ask the service LLM, through litellm: cached, limited, within the budget, patient with its faults."""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from openai import OpenAIError

from engine.config import SANDBOX_MODEL, Service
from engine.errors import ServiceError
from engine.rows import Message, Tool, ToolCall, message_text
from engine.service.budget import Budget, Shortage
from engine.service.cache import Cache
from engine.service.headers import retry_after, used_up
from engine.service.ledger import Flight, Ledger, Reply, request_key
from engine.service.limiter import Limiter
from engine.service.models import exceptions, litellm, litellm_name, price, supports_schema
from engine.service.schemas import Schema, response_format
from engine.service.tokens import Expectation, most_tokens, prompt_bytes

HOME_POLL_S = 0.05
FIRST_PATIENCE_S = 15.0
"""How long to retry a service that has never answered in this run: most likely it is set up wrongly."""

TELL_EVERY_S = 30.0
"""Faults are told no more often."""

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
    """One for all stages of a worker, so that limits, ledger and budget are shared.

    `on_trouble` is told of faults, twice a minute at most; `on_used_up` that the budget is, whereupon calls wait for
    `cap`.
    """

    def __init__(
        self,
        settings: Service,
        ledger: Ledger,
        *,
        cache: Cache | None = None,
        sandbox_base: str | None = None,
        gate: asyncio.Event | None = None,
        on_change: Callable[[Usage], None] = lambda _: None,
        on_trouble: Callable[[str], None] = lambda _: None,
        on_used_up: Callable[[Shortage], None] = lambda _: None,
    ) -> None:
        totals = ledger.totals()
        self.usage = Usage(totals.calls, 0, 0, totals.prompt_tokens, totals.completion_tokens, totals.cost_usd)
        self._settings = settings
        self._ledger = ledger
        self._cache = cache
        self._sandbox_base = sandbox_base
        self._gate = gate
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._budget = Budget(
            *(settings.budget_usd, settings.budget_calls),
            spent=totals.cost_usd + sum(ledger.lost),
            asked=totals.calls + len(ledger.lost),
            on_used_up=on_used_up,
        )
        if ledger.lost and (settings.budget_usd, settings.budget_calls) != (None, None):
            on_trouble(f"the budget bears {len(ledger.lost)} calls that were cut off, up to ${sum(ledger.lost):.4f}")
        self._limiters: dict[str, Limiter] = {}
        self._expected: defaultdict[str, Expectation] = defaultdict(Expectation)
        self._in_flight: dict[str, asyncio.Task[Reply]] = {}
        self._calls_abroad = 0
        self._answered, self._told = time.monotonic(), -math.inf

    async def complete(
        self,
        messages: list[Message],
        *,
        model: str,
        max_tokens: int,
        temperature: float | None,
        tools: Sequence[Tool] = (),
        repeat: int = 0,
        schema: Schema | None = None,
    ) -> Reply:
        """The reply to a chat; an identical request (of the same repeat) is paid once.

        Without a `temperature` it is the service's own. Calls of `tools` are in the reply's text, as `message_text` has
        them.

        It keeps to `schema` where the model is known to be able to. Raises RefusedError for this request alone,
        ServiceError where the service cannot be used.
        """
        params: dict[str, Any] = {"max_tokens": max_tokens}
        if temperature is not None:
            params["temperature"] = temperature
        if tools:
            params["tools"] = list(tools)
        if schema is not None and supports_schema(model):
            params["response_format"] = response_format(schema)
        request = {
            "model": model,
            "messages": messages,
            "params": {**params, **self._settings.params},
            "repeat": repeat,
        }
        key = request_key(request)
        while (same := self._in_flight.get(key)) is not None:
            await asyncio.wait([same])
            if not same.cancelled():
                return self._reused(same.result())  # what it failed of, we failed of too
        task = asyncio.create_task(self._reply(key, request))
        self._in_flight[key] = task
        task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        return await task

    async def cap(self, usd: float | None, calls: int | None) -> None:
        """Set other caps than those of the settings."""
        await self._budget.cap(usd, calls)

    async def come_home(self, seconds: float) -> None:
        """Wait a while for the calls that are on their way: they are paid for. The gate keeps others from leaving."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._calls_abroad:  # noqa: ASYNC110 - once in a run, an event would outweigh it
                    await asyncio.sleep(HOME_POLL_S)

    @contextmanager
    def _abroad(self) -> Iterator[None]:
        self._calls_abroad += 1
        try:
            yield
        finally:
            self._calls_abroad -= 1

    async def _reply(self, key: str, request: dict[str, Any]) -> Reply:
        known = await self._ledger.reply(key)
        if known is None and (known := await self._from_cache(request)) is not None:
            await self._ledger.keep(key, request, known, time.time())
        return self._reused(known) if known is not None else await self._pay(key, request)

    def _reused(self, reply: Reply) -> Reply:
        self.usage.cached_calls += 1
        self._on_change(self.usage)
        return replace(reply, cached=True)

    async def _pay(self, key: str, request: dict[str, Any]) -> Reply:
        most = self._most(request)
        limiter = self._limiter(request["model"])
        async with limiter.slot():
            await self._budget.reserve(most)
            flight = Flight(key, time.time(), most)
            cost, calls = 0.0, 0
            try:
                await self._ledger.announce(flight)
                reply = await self._ask_until_answered(request, limiter, flight)
                cost, calls = reply.cost_usd, 1
                self._book(reply)
                with self._abroad():
                    # It is paid, whatever happens now.
                    cost -= await asyncio.shield(self._ledger.land(flight, request, reply))
            finally:
                if calls == 0:
                    cost, calls = self._not_answered(flight)
                await self._budget.settle(most, cost, calls)
        await self._to_cache(request, reply)
        return reply

    def _not_answered(self, flight: Flight) -> tuple[float, int]:
        """What a call without an answer takes of the budget: one that was cut off is paid for most likely."""
        if flight.cut_off:
            self._ledger.lose(flight)
            return flight.most, 1
        self._ledger.recall(flight)
        return 0.0, 0

    def _book(self, reply: Reply) -> None:
        self.usage.calls += 1
        self.usage.prompt_tokens += reply.prompt_tokens
        self.usage.completion_tokens += reply.completion_tokens
        self.usage.cost_usd += reply.cost_usd
        self._on_change(self.usage)

    def _limiter(self, model: str) -> Limiter:
        """Providers count by model."""
        if model not in self._limiters:
            settings = self._settings
            self._limiters[model] = Limiter(settings.rpm, settings.tpm, settings.concurrency)
        return self._limiters[model]

    async def _from_cache(self, request: dict[str, Any]) -> Reply | None:
        if self._cache is None or request["model"] == SANDBOX_MODEL:
            return None
        try:
            return await self._cache.reply(request, self._address(request["model"]))
        except sqlite3.Error as error:
            self._do_without_cache(error)
            return None

    async def _to_cache(self, request: dict[str, Any], reply: Reply) -> None:
        if self._cache is None or request["model"] == SANDBOX_MODEL:
            return
        try:
            await self._cache.keep(request, self._address(request["model"]), reply)
        except sqlite3.Error as error:
            self._do_without_cache(error)

    def _do_without_cache(self, error: sqlite3.Error) -> None:
        self._cache = None
        self._on_trouble(f"replies are not kept for later runs: {error}")

    def _address(self, model: str) -> str:
        return str(self._endpoint(model).get("api_base", ""))

    async def _ask_until_answered(self, request: dict[str, Any], limiter: Limiter, flight: Flight) -> Reply:
        expected = self._expected[request["model"]]
        tries, give_up = 0, 0.0
        while True:
            tokens = expected.tokens(request)
            await limiter.turn(tokens)
            if self._gate is not None:
                await self._gate.wait()
            sent = time.monotonic()
            try:
                with self._abroad():
                    reply, headers = await self._ask(request)
            except asyncio.CancelledError:
                flight.cut_off = True
                raise
            except OpenAIError as error:
                if _concerns_this_request(error):
                    raise RefusedError(self._say(error)) from None
                if not _passes(error):
                    raise self._unusable(error, request["model"]) from None
                tries += 1
                self._note_trouble(error, request["model"])
                pause = _pause(error) or min(30.0, 0.5 * 2**tries) * random.uniform(0.5, 1.0)
                give_up = give_up or time.monotonic() + self._patience(error)
                if time.monotonic() + pause > give_up:
                    raise self._gave_up(error, request["model"]) from None
                if isinstance(error, exceptions.RateLimitError):
                    limiter.window.refused(sent)
                    limiter.pause(pause)
                await asyncio.sleep(pause)
            else:
                self._answered = time.monotonic()
                limiter.window.answered()
                limiter.pause(used_up(headers, limiter.unknown))
                limiter.correct(reply.prompt_tokens + reply.completion_tokens - tokens)
                expected.learn(request, reply)
                return reply

    def _patience(self, error: OpenAIError) -> float:
        answers = self.usage.calls > 0 or isinstance(error, exceptions.RateLimitError)
        return self._settings.patience_s if answers else min(FIRST_PATIENCE_S, self._settings.patience_s)

    async def _ask(self, request: dict[str, Any]) -> tuple[Reply, Mapping[str, str]]:
        """The service's answer to one request, and its headers; raises what litellm raises."""
        answer = await litellm.acompletion(
            model=litellm_name(request["model"]),
            messages=[{**message, "content": _whole(message["content"])} for message in request["messages"]],
            timeout=self._settings.timeout_s,
            num_retries=0,
            max_retries=0,
            _skip_mcp_handler=True,  # with tools, litellm would look for its MCP gateway, which needs another package
            **self._endpoint(request["model"]),
            **request["params"],
        )
        if answer is None:  # litellm's way to say that a request is malformed, whatever parameters it drops
            raise ServiceError(f"{request['model']} refuses the request", "check [service] params, then resume")
        if not answer.choices:
            raise exceptions.InternalServerError("the reply holds no choice", "", request["model"])
        return self._read(answer, request), _headers(answer)

    def _read(self, answer: Any, request: dict[str, Any]) -> Reply:
        choice, usage = answer.choices[0], answer.usage
        text = _whole(_said(choice.message))
        # A service that doesn't count is booked by our own, generous count.
        prompt_tokens = usage.prompt_tokens if usage.prompt_tokens > 0 else prompt_bytes(request) // 3 + 16
        completion_tokens = usage.completion_tokens if usage.completion_tokens > 0 else most_tokens(text)
        prompt_price, completion_price = price(request["model"], self._settings) or (0.0, 0.0)
        return Reply(
            text=text,
            finish_reason=_whole(choice.finish_reason or "stop"),
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
        prompt_tokens = prompt_bytes(request) + 16 * len(request["messages"])
        return prompt_tokens * prompt_price + int(request["params"]["max_tokens"]) * completion_price

    def _note_trouble(self, error: Exception, model: str) -> None:
        self.usage.failed_calls += 1
        self._on_change(self.usage)
        now = time.monotonic()
        if now - self._told < TELL_EVERY_S:
            return
        self._told = now
        silent = now - self._answered
        if silent < TELL_EVERY_S:
            self._on_trouble(f"{model} answered with an error, trying again: {self._say(error)}")
        else:
            since = time.strftime("%H:%M:%S", time.localtime(time.time() - silent))
            self._on_trouble(f"waiting for {model}, no answer since {since} ({silent:.0f} s): {self._say(error)}")

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


def _said(message: Any) -> str:
    """What the assistant wrote, with its calls."""
    calls: list[ToolCall] = [
        {
            "id": "",
            "type": "function",
            "function": {"name": call.function.name or "", "arguments": call.function.arguments},
        }
        for call in message.tool_calls or []
    ]
    return message_text({"role": "assistant", "content": message.content or "", "tool_calls": calls})


def _whole(text: str) -> str:
    return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _headers(answer: Any) -> dict[str, str]:
    """The service's own headers; litellm keeps them aside, under names of its own."""
    kept = answer._hidden_params.get("additional_headers") or {}
    return {name.removeprefix("llm_provider-").lower(): str(value) for name, value in kept.items()}


def _pause(error: Exception) -> float | None:
    """The seconds to wait that the service named."""
    headers = getattr(error, "litellm_response_headers", None) or {}
    return retry_after(headers) or used_up(headers, ("requests", "tokens")) or None
