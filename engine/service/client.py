"""Ask the service LLM, through litellm: cached, limited, within the budget, patient with its faults."""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from openai import OpenAIError

from engine.protocol.errors import ServiceError
from engine.protocol.rows import Message, Tool
from engine.service.batch import Batches
from engine.service.budget import Budget, Shortage
from engine.service.cache import Cache
from engine.service.faults import (
    Trouble,
    concerns_one_request,
    error_status,
    locks_out,
    may_be_paid,
    passes,
    pause,
)
from engine.service.headers import used_up
from engine.service.ledger import Flight, Ledger, Reply, request_key
from engine.service.limiter import Limiter
from engine.service.models import (
    PRICES_HINT,
    endpoint,
    exceptions,
    litellm,
    litellm_name,
    most_output,
    price,
    supports_schema,
)
from engine.service.response_adapter import FILTERED, REFUSAL, headers, read, sendable
from engine.service.schemas import Schema, response_format
from engine.service.tokens import Expectation, most_cost
from engine.settings.schema import SANDBOX_MODEL, Service

HOME_S, HOME_POLL_S = 10.0, 0.05
"""How long a stop or a failure waits for calls on their way."""

OBJECTIONS = (400, 413, 422)
"""The statuses of services that object to what a request holds."""

MOST_ODD = 3
"""Requests in a row that a service may object to before it seems to object to all."""

FIRST_PATIENCE_S = 15.0
"""How long to retry a service that has never answered in this run: most likely it is set up wrongly."""


class RefusedError(Exception):
    """The service, its filter or its model will not answer this one request; others are not concerned."""


@dataclass(slots=True)
class Usage:
    """Totals of the run so far, and since when the service has only had faults, in seconds since the epoch."""

    calls: int = 0
    cached_calls: int = 0
    failed_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    silent_since: float | None = None


class Client:
    """One for all stages of a worker, so that limits, ledger and budget are shared.

    `on_trouble` is told of faults, twice a minute at most; `on_note` of what becomes of batch jobs; `on_used_up` that
    the budget is, whereupon calls wait for `cap`.
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
        on_note: Callable[[str], None] = lambda _: None,
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
        self._odd: defaultdict[str, int] = defaultdict(int)
        self._ended: ServiceError | None = None
        self._trouble = Trouble(settings, on_trouble)
        self._batches = Batches(
            *(settings, ledger, self._budget, self._trouble),
            gate=gate,
            abroad=self._abroad,
            on_reply=self._book,
            on_note=on_note,
        )

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
        params: dict[str, Any] = {"max_tokens": min(max_tokens, most_output(model) or max_tokens)}
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

    @property
    def spent(self) -> float:
        """USD that the run's budget bears: what was paid, and what lost answers may cost."""
        return self._budget.spent

    async def cap(self, usd: float | None, calls: int | None) -> None:
        """Set other caps than those of the settings."""
        await self._budget.cap(usd, calls)

    async def close(self) -> None:
        """Wait for no batch job any more."""
        await self._batches.close()

    async def come_home(self) -> None:
        """Wait a while for the calls that are on their way: they are paid for. The gate keeps others from leaving."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HOME_S):
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
        reply = self._reused(known) if known is not None else await self._pay(key, request)
        if reply.finish_reason in (REFUSAL, FILTERED):
            raise RefusedError(" ".join(f"{reply.finish_reason}: {reply.text[:200]}".split()).rstrip(": "))
        return reply

    def _reused(self, reply: Reply) -> Reply:
        self.usage.cached_calls += 1
        self._on_change(self.usage)
        return replace(reply, cached=True)

    async def _pay(self, key: str, request: dict[str, Any]) -> Reply:
        reply = await self._batches.reply(key, request) or await self._ask_directly(key, request)
        await self._to_cache(request, reply)
        return reply

    async def _ask_directly(self, key: str, request: dict[str, Any]) -> Reply:
        """Ask until there is an answer; each try is a call of its own for budget and ledger."""
        limiter, tries, began = self._limiter(request["model"]), 0, math.inf
        async with limiter.slot():
            while True:
                try:
                    return await self._try(key, request, limiter)
                except OpenAIError as error:
                    tries, began = tries + 1, min(began, time.monotonic())
                    await self._endure(error, request["model"], limiter, tries, began)

    async def _try(self, key: str, request: dict[str, Any], limiter: Limiter) -> Reply:
        most = most_cost(request, price(request["model"], self._settings))
        await self._budget.reserve(most)
        flight = Flight(key, time.time(), most)
        cost, calls = 0.0, 0
        try:
            await self._ledger.announce(flight)
            reply = await self._send(request, limiter, flight)
            cost, calls = reply.cost_usd, 1
            self._book(reply)
            with self._abroad():
                # It is paid, whatever happens now.
                cost -= await asyncio.shield(self._ledger.land(flight, request, reply))
        finally:
            if calls == 0:
                cost, calls = self._not_answered(flight)
            await self._budget.settle(most, cost, calls)
        return reply

    def _not_answered(self, flight: Flight) -> tuple[float, int]:
        """What a call without an answer takes of the budget: one that the service may have worked on is paid for."""
        if flight.cut_off:
            self._ledger.lose(flight)
            return flight.most, 1
        self._ledger.recall(flight)
        return 0.0, 0

    def _book(self, reply: Reply) -> None:
        self.usage.silent_since = None
        self.usage.calls += 1
        self.usage.prompt_tokens += reply.prompt_tokens
        self.usage.completion_tokens += reply.completion_tokens
        self.usage.cost_usd += reply.cost_usd
        self._on_change(self.usage)

    def _limiter(self, model: str) -> Limiter:
        """Providers count by model."""
        if model not in self._limiters:
            terms = self._settings.terms(model)
            self._limiters[model] = Limiter(terms.rpm, terms.tpm, self._settings.concurrency)
            if price(model, self._settings) is None:
                self._on_trouble(f"{model} has no known price, so its calls count as $0; {PRICES_HINT}")
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
        return str(endpoint(model, self._settings, self._sandbox_base).get("api_base", ""))

    async def _send(self, request: dict[str, Any], limiter: Limiter, flight: Flight) -> Reply:
        """One try, as soon as limits and gate allow."""
        expected = self._expected[request["model"]]
        tokens = expected.tokens(request)
        await limiter.turn(tokens)
        if self._gate is not None:
            await self._gate.wait()
        if self._ended is not None:
            await self._end(self._ended)
        sent = time.monotonic()
        try:
            with self._abroad():
                reply, told = await self._ask(request)
        except asyncio.CancelledError:
            flight.cut_off = True
            raise
        except OpenAIError as error:
            flight.cut_off = passes(error) and may_be_paid(error)
            if isinstance(error, exceptions.RateLimitError):
                limiter.window.refused(sent)
            raise
        self._trouble.over()
        self._odd[request["model"]] = 0
        limiter.window.answered()
        limiter.pause(used_up(told, limiter.unknown))
        limiter.correct(reply.prompt_tokens + reply.completion_tokens - tokens)
        expected.learn(request, reply)
        return reply

    async def _endure(self, error: OpenAIError, model: str, limiter: Limiter, tries: int, began: float) -> None:
        """Wait before the next try, where another can help; a call's tries have failed since `began`.

        Raises RefusedError or ServiceError where none can.
        """
        if concerns_one_request(error) or self._is_odd(error, model):
            raise RefusedError(self._trouble.say(error)) from None
        if not passes(error):
            await self._end(self._trouble.unusable(error, model))
        self.usage.failed_calls += 1
        self.usage.silent_since = self.usage.silent_since or time.time()
        self._on_change(self.usage)
        self._trouble.tell(error, model)
        told = pause(error)
        seconds = told or min(30.0, 0.5 * 2**tries) * random.uniform(0.5, 1.0)
        works = self.usage.calls > 0 or told is not None or isinstance(error, exceptions.RateLimitError)
        patience = self._settings.patience_s if works else min(FIRST_PATIENCE_S, self._settings.patience_s)
        # A service that answers others is there, however long this call has failed.
        if time.monotonic() + seconds > max(began, self._trouble.answered) + patience:
            await self._end(self._trouble.gave_up(error, model))
        if isinstance(error, exceptions.RateLimitError):
            limiter.pause(seconds)
        await asyncio.sleep(seconds)

    def _is_odd(self, error: OpenAIError, model: str) -> bool:
        """Whether a model that has answered others objects to this request; many in a row are no chance."""
        if error_status(error) not in OBJECTIONS or locks_out(error) or not self._ledger.knows(model):
            return False
        self._odd[model] += 1
        return self._odd[model] <= MOST_ODD

    async def _end(self, ended: ServiceError) -> NoReturn:
        """Fail for good, once those calls are home that are paid for; no other leaves."""
        self._ended = self._ended or ended
        await self.come_home()
        raise self._ended from None

    async def _ask(self, request: dict[str, Any]) -> tuple[Reply, Mapping[str, str]]:
        """The service's answer to one request, and its headers; raises what litellm raises."""
        seconds = self._settings.timeout_s
        try:
            async with asyncio.timeout(seconds):  # litellm's own waits as long for each piece of an answer
                answer = await litellm.acompletion(
                    model=litellm_name(request["model"]),
                    messages=sendable(request["messages"]),
                    timeout=seconds,
                    num_retries=0,
                    max_retries=0,
                    _skip_mcp_handler=True,  # with tools, it would look for its MCP gateway, which is another package
                    **endpoint(request["model"], self._settings, self._sandbox_base),
                    **request["params"],
                )
        except TimeoutError:
            raise exceptions.Timeout(f"no whole answer in {seconds:g} s", request["model"], "") from None
        if answer is None:  # litellm's way to say that a request is malformed, whatever parameters it drops
            raise ServiceError(f"{request['model']} refuses the request", "check [service] params, then resume")
        if not answer.choices:
            raise exceptions.InternalServerError("the reply holds no choice", "", request["model"])
        return read(answer, request, price(request["model"], self._settings)), headers(answer)
