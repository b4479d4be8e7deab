"""Call the service LLM, through litellm: cached, rate-limited, within the budget, retried on faults."""

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
from typing import NoReturn

from openai import OpenAIError, RateLimitError

from engine.protocol.errors import ServiceError
from engine.protocol.rows import Message, Tool
from engine.service.batch import Batches
from engine.service.budget import Budget, Shortage
from engine.service.cache import Cache
from engine.service.completion import Completion, Request, Schema
from engine.service.faults import (
    FaultReporter,
    error_status,
    is_transient,
    locks_out,
    may_be_billed,
    rejects_one_request,
    retry_delay,
)
from engine.service.headers import seconds_until_reset
from engine.service.ledger import InFlightCall, Ledger
from engine.service.limiter import Limiter, TokenEstimator
from engine.service.litellm_adapter import FILTERED, REFUSAL, completion_arguments, completion_of, response_headers
from engine.service.models import (
    PRICES_HINT,
    endpoint,
    load_litellm,
    max_output_tokens,
    price,
    supports_schema,
)
from engine.settings.schema import SANDBOX_MODEL, Service

DRAIN_S, DRAIN_POLL_S = 10.0, 0.05
"""How long a stop or a failure waits for calls in flight."""

REJECTION_STATUS = (400, 413, 422)
"""The statuses with which services reject a request for its content."""

MAX_REJECTED = 3
"""Requests in a row that a service may reject before the service counts as set up wrongly."""

FIRST_PATIENCE_S = 15.0
"""How long to retry a service that has completed no call in this run: most likely it is set up wrongly."""


class RefusedError(Exception):
    """The service, its filter or its model refuses this one request; others are not concerned."""


@dataclass(slots=True, kw_only=True)
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

    `on_trouble` gets warnings about faults, twice a minute at most; `on_note` news of batch jobs; `on_used_up` is
    called when the budget is used up: calls then wait for `cap`.
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
        totals, interrupted = ledger.totals(), ledger.interrupted_costs
        self.usage = Usage(
            calls=totals.calls,
            prompt_tokens=totals.prompt_tokens,
            completion_tokens=totals.completion_tokens,
            cost_usd=totals.cost_usd,
        )
        self._litellm = load_litellm()
        self._settings = settings
        self._ledger = ledger
        self._cache = cache
        self._sandbox_base = sandbox_base
        self._gate = gate
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._budget = Budget(
            settings.budget_usd,
            settings.budget_calls,
            spent=totals.cost_usd + sum(interrupted),
            calls_used=totals.calls + len(interrupted),
            on_used_up=on_used_up,
        )
        if interrupted and (settings.budget_usd, settings.budget_calls) != (None, None):
            on_trouble(f"{len(interrupted)} interrupted calls count against the budget, up to ${sum(interrupted):.4f}")
        self._limiters: dict[str, Limiter] = {}
        self._estimators: defaultdict[str, TokenEstimator] = defaultdict(TokenEstimator)
        self._pending: dict[str, asyncio.Task[Completion]] = {}
        self._calls_in_flight = 0
        self._rejected: defaultdict[str, int] = defaultdict(int)
        self._failure: ServiceError | None = None
        self._faults = FaultReporter(settings, on_trouble)
        self._batches = Batches(
            settings,
            ledger,
            self._budget,
            self._faults,
            gate=gate,
            in_flight=self._in_flight,
            on_completion=self._count,
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
    ) -> Completion:
        """The completion of a chat; an identical request (of the same repeat) is paid once.

        Without a `temperature` it is the service's own. Calls of `tools` are in the text, as `message_text` writes
        them. The text follows `schema` where the model is known to support one.

        Raises RefusedError for this request alone, ServiceError where the service cannot be used.
        """
        request = Request(
            model=model,
            messages=messages,
            max_tokens=min(max_tokens, max_output_tokens(model) or max_tokens),
            temperature=temperature,
            tools=tools,
            schema=schema if schema is not None and supports_schema(model) else None,
            repeat=repeat,
            extra=self._settings.params,
        )
        while (same := self._pending.get(request.digest)) is not None:
            await asyncio.wait([same])
            if not same.cancelled():
                return self._reused(same.result())  # its failure is this one's, too
        task = asyncio.create_task(self._complete(request))
        self._pending[request.digest] = task
        task.add_done_callback(lambda _: self._pending.pop(request.digest, None))
        return await task

    @property
    def spent(self) -> float:
        """USD that count against the run's budget: what was paid, and what interrupted calls may cost."""
        return self._budget.spent

    async def cap(self, usd: float | None, calls: int | None) -> None:
        """Set other caps than those of the settings."""
        await self._budget.cap(usd, calls)

    async def close(self) -> None:
        """Stop waiting for batch jobs."""
        await self._batches.close()

    async def drain(self) -> None:
        """Wait a while for the calls in flight: they are paid for. The gate keeps others from being sent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._calls_in_flight:  # noqa: ASYNC110 - once in a run, an event would outweigh it
                    await asyncio.sleep(DRAIN_POLL_S)

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        self._calls_in_flight += 1
        try:
            yield
        finally:
            self._calls_in_flight -= 1

    async def _complete(self, request: Request) -> Completion:
        known = await self._ledger.completion(request)
        if known is None and (known := await self._from_cache(request)) is not None:
            await self._ledger.record(request, known, time.time())
        completion = self._reused(known) if known is not None else await self._pay(request)
        if completion.finish_reason in (REFUSAL, FILTERED):
            raise RefusedError(" ".join(f"{completion.finish_reason}: {completion.text[:200]}".split()).rstrip(": "))
        return completion

    def _reused(self, completion: Completion) -> Completion:
        self.usage.cached_calls += 1
        self._on_change(self.usage)
        return replace(completion, cached=True)

    async def _pay(self, request: Request) -> Completion:
        completion = await self._batches.completion(request) or await self._call_until_done(request)
        await self._to_cache(request, completion)
        return completion

    async def _call_until_done(self, request: Request) -> Completion:
        """Call until there is a completion; each try is a separate call for budget and ledger."""
        limiter, tries, began = self._limiter(request.model), 0, math.inf
        async with limiter.slot():
            while True:
                try:
                    return await self._try(request, limiter)
                except OpenAIError as error:
                    tries, began = tries + 1, min(began, time.monotonic())
                    await self._wait_to_retry(error, request.model, limiter, tries, began)

    async def _try(self, request: Request, limiter: Limiter) -> Completion:
        most = request.max_cost(price(request.model, self._settings))
        await self._budget.reserve(most)
        call = InFlightCall(request, time.time(), most)
        cost, calls = 0.0, 0
        try:
            await self._ledger.start(call)
            completion = await self._send(call, limiter)
            cost, calls = completion.cost_usd, 1
            self._count(completion)
            with self._in_flight():
                # It is paid, whatever happens now.
                cost -= await asyncio.shield(self._ledger.settle(call, completion))
        finally:
            if calls == 0:
                cost, calls = self._cost_without_completion(call)
            await self._budget.settle(most, cost, calls)
        return completion

    def _cost_without_completion(self, call: InFlightCall) -> tuple[float, int]:
        """USD and calls that a failed call takes from the budget: one that the service may have worked on is paid."""
        if call.interrupted:
            self._ledger.interrupt(call)
            return call.max_cost, 1
        self._ledger.withdraw(call)
        return 0.0, 0

    def _count(self, completion: Completion) -> None:
        self.usage.silent_since = None
        self.usage.calls += 1
        self.usage.prompt_tokens += completion.prompt_tokens
        self.usage.completion_tokens += completion.completion_tokens
        self.usage.cost_usd += completion.cost_usd
        self._on_change(self.usage)

    def _limiter(self, model: str) -> Limiter:
        """Providers limit each model by itself."""
        if model not in self._limiters:
            terms = self._settings.endpoint(model)
            self._limiters[model] = Limiter(terms.rpm, terms.tpm, self._settings.concurrency)
            if price(model, self._settings) is None:
                self._on_trouble(f"{model} has no known price: its calls count as $0; {PRICES_HINT}")
        return self._limiters[model]

    async def _from_cache(self, request: Request) -> Completion | None:
        if self._cache is None or request.model == SANDBOX_MODEL:
            return None
        try:
            return await self._cache.completion(request, self._address(request.model))
        except sqlite3.Error as error:
            self._turn_cache_off(error)
            return None

    async def _to_cache(self, request: Request, completion: Completion) -> None:
        if self._cache is None or request.model == SANDBOX_MODEL:
            return
        try:
            await self._cache.record(request, self._address(request.model), completion)
        except sqlite3.Error as error:
            self._turn_cache_off(error)

    def _turn_cache_off(self, error: sqlite3.Error) -> None:
        self._cache = None
        self._on_trouble(f"reply cache is off: {error}")

    def _address(self, model: str) -> str:
        return str(endpoint(model, self._settings, self._sandbox_base).get("api_base", ""))

    async def _send(self, call: InFlightCall, limiter: Limiter) -> Completion:
        """One try, as soon as limits and gate allow."""
        request = call.request
        estimator = self._estimators[request.model]
        tokens = estimator.estimate(request)
        await limiter.turn(tokens)
        if self._gate is not None:
            await self._gate.wait()
        if self._failure is not None:
            await self._fail(self._failure)
        sent = time.monotonic()
        try:
            with self._in_flight():
                completion, headers = await self._call(request)
        except asyncio.CancelledError:
            call.interrupted = True
            raise
        except OpenAIError as error:
            call.interrupted = is_transient(error) and may_be_billed(error)
            if isinstance(error, RateLimitError):
                limiter.window.refused(sent)
            raise
        self._faults.recovered()
        self._rejected[request.model] = 0
        limiter.window.succeeded()
        limiter.pause(seconds_until_reset(headers, limiter.unknown))
        limiter.correct(completion.prompt_tokens + completion.completion_tokens - tokens)
        estimator.learn(request, completion)
        return completion

    async def _wait_to_retry(self, error: OpenAIError, model: str, limiter: Limiter, tries: int, began: float) -> None:
        """Wait before the next try, where one can help; a call's tries have failed since `began`.

        Raises RefusedError or ServiceError where none can.
        """
        if rejects_one_request(error) or self._is_rejected(error, model):
            raise RefusedError(self._faults.describe(error)) from None
        if not is_transient(error):
            await self._fail(self._faults.unusable(error, model))
        self.usage.failed_calls += 1
        self.usage.silent_since = self.usage.silent_since or time.time()
        self._on_change(self.usage)
        self._faults.report(error, model)
        named = retry_delay(error)
        seconds = named or min(30.0, 0.5 * 2**tries) * random.uniform(0.5, 1.0)
        works = self.usage.calls > 0 or named is not None or isinstance(error, RateLimitError)
        patience = self._settings.patience_s if works else min(FIRST_PATIENCE_S, self._settings.patience_s)
        # While other calls succeed the service is up, however long this one has failed.
        if time.monotonic() + seconds > max(began, self._faults.last_success) + patience:
            await self._fail(self._faults.gave_up(error, model))
        if isinstance(error, RateLimitError):
            limiter.pause(seconds)
        await asyncio.sleep(seconds)

    def _is_rejected(self, error: OpenAIError, model: str) -> bool:
        """Whether a model that has completed others rejects this request; with many in a row the settings are wrong."""
        if (
            error_status(error) not in REJECTION_STATUS
            or locks_out(error)
            or not self._ledger.has_completions_of(model)
        ):
            return False
        self._rejected[model] += 1
        return self._rejected[model] <= MAX_REJECTED

    async def _fail(self, failure: ServiceError) -> NoReturn:
        """Fail for good, once the calls in flight, which are paid for, are done; no other is sent."""
        self._failure = self._failure or failure
        await self.drain()
        raise self._failure from None

    async def _call(self, request: Request) -> tuple[Completion, Mapping[str, str]]:
        """The completion of one request, and the response's headers; raises what litellm raises."""
        seconds = self._settings.timeout_s
        try:
            async with asyncio.timeout(seconds):  # litellm's own timeout starts again with each chunk of a response
                response = await self._litellm.acompletion(
                    **completion_arguments(request, self._settings, self._sandbox_base)
                )
        except TimeoutError:
            raise self._litellm.exceptions.Timeout(
                f"no complete reply within {seconds:g} s", request.model, ""
            ) from None
        if response is None:  # litellm's way to say that a request is malformed, whatever parameters it drops
            raise ServiceError(f"{request.model}: litellm rejects the request", "check [service] params, then resume")
        if not response.choices:
            raise self._litellm.exceptions.InternalServerError("the response has no choices", "", request.model)
        completion = completion_of(response, request, price(request.model, self._settings))
        return completion, response_headers(response)
