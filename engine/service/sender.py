"""Send one request until there is a reply: within limits and budget, in the model's terms, through passing faults."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import httpx
from msgspec.structs import replace
from openai import OpenAIError

from engine.protocol.errors import LlamaDuoError
from engine.service.budget import Budget
from engine.service.completion import Completion, Request
from engine.service.fault_reporter import FaultReporter
from engine.service.faults import Fault, Kind, RefusedError, fault_of
from engine.service.headers import seconds_until_reset
from engine.service.in_flight import CallsInFlight
from engine.service.ledger import InFlightCall, Ledger
from engine.service.limiter import Limiter, TokenEstimator
from engine.service.litellm_adapter import completion_arguments, completion_of, response_headers
from engine.service.models import PRICES_HINT, load_litellm, log_no_call, price
from engine.service.negotiation import Terms
from engine.service.outage import Outage
from engine.service.record import CONTROL, FEW, FREE_TRIES, LIMITED_TRIES, Record
from engine.service.usage import Usage
from engine.settings.schema import Service

FIRST_BACKOFF_S, LONGEST_BACKOFF_S, BACKOFF_AMONG_OTHERS_S = 0.5, 30.0, 8.0
"""Pauses between tries double up to the longest; to a shorter one while other requests pass."""

LONGEST_WAIT_S = 600.0
"""How long a request waits for another one to find that an outage is over, before it tries by itself."""

SLACK_S = 1.0
"""By how much a call may pass its time limit."""

DEAD_ENDS = (Kind.UNCLEAR, Kind.FINAL, Kind.SETUP)
"""Faults of a control call that say that the service takes no request at all."""

HARMLESS = "Reply with the word OK, in whatever form you were told."
"""What a model is asked to find out whether it answers at all."""

MOST_NEWS = 5
"""Changes of the answering model that are reported: some services change back and forth."""


class Sender:
    """One for all models of a worker; counts into `usage`."""

    def __init__(
        self,
        settings: Service,
        ledger: Ledger,
        budget: Budget,
        faults: FaultReporter,
        usage: Usage,
        in_flight: CallsInFlight,
        *,
        sandbox_base: str | None,
        gate: asyncio.Event | None,
        on_change: Callable[[Usage], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._litellm = load_litellm()
        self._settings, self._ledger, self._budget, self._faults = settings, ledger, budget, faults
        self._usage, self._on_change, self._on_trouble = usage, on_change, on_trouble
        self._in_flight = in_flight
        self._sandbox_base, self._gate = sandbox_base, gate
        self._limiters: dict[str, Limiter] = {}
        self._estimators: defaultdict[str, TokenEstimator] = defaultdict(TokenEstimator)
        self._terms: defaultdict[str, Terms] = defaultdict(Terms)
        self._records: defaultdict[str, Record] = defaultdict(Record)
        self._outages: defaultdict[str, Outage] = defaultdict(Outage)
        self._failing: set[_Trial] = set()
        self._controls: dict[str, asyncio.Task[Fault | None]] = {}
        self._control_faults: dict[str, tuple[float, Fault]] = {}
        self._failure: LlamaDuoError | None = None

    @property
    def failed(self) -> bool:
        """Whether the service has failed for good: all that is asked of it ends with that error."""
        return self._failure is not None

    async def close(self) -> None:
        """Cancel what no request waits for any more."""
        controls = list(self._controls.values())
        for control in controls:
            control.cancel()
        await asyncio.gather(*controls, return_exceptions=True)

    @asynccontextmanager
    async def slot(self, model: str) -> AsyncIterator[None]:
        """One of the places for requests at work; callers are served in order."""
        async with self._limiter(model).slot():
            yield

    def fit(self, request: Request) -> Request:
        """The request with a limit of completion tokens that the model is known to allow."""
        return self._terms[request.model].fit(request, self._estimators[request.model].prompt_tokens(request))

    def needs(self, model: str, tokens: int) -> None:
        """Remember that a reply of the model took a limit of so many completion tokens."""
        self._terms[model].room = max(self._terms[model].room, tokens)

    async def reply(self, key: str, request: Request, usable: Callable[[Completion], bool]) -> Completion:
        """The completion of a request that answers the one with digest `key`; `usable` tells the ledger its worth.

        Raises RefusedError where the request alone is refused, ServiceError where the service cannot be used.
        """
        trial = _Trial(key, self.fit(request))
        try:
            while True:
                try:
                    return await self._try(trial, usable)
                except OpenAIError as error:
                    await self._endure(fault_of(error), trial)
        finally:
            self._outages[request.model].leave(trial)
            self._failing.discard(trial)
            if not self._failing and self._usage.silent_since is not None:  # nobody waits: the rest was refused alone
                self._usage.silent_since = None
                self._on_change(self._usage)

    async def check(self, request: Request) -> None:
        """Ask the model something harmless in the way of a request; raises ServiceError where it refuses that too."""
        fault = await self._control(request)
        if fault is not None and fault.kind in DEAD_ENDS:
            await self.fail(self._faults.unusable(fault, request.model))

    def count(self, model: str, completion: Completion) -> None:
        """Count a paid call, and tell when another model answers than before."""
        usage = self._usage
        usage.silent_since = None
        usage.calls += 1
        usage.prompt_tokens += completion.prompt_tokens
        usage.completion_tokens += completion.completion_tokens
        usage.cost_usd += completion.cost_usd
        self._on_change(usage)
        known, who = self._ledger.answerers[model], (completion.model, completion.fingerprint)
        if not completion.model or who in known:
            return
        before = " ".join(part for part in [*known][-1] if part) if known else ""
        known[who] = None
        if before and len(known) <= MOST_NEWS:
            self._on_trouble(
                f"{model} is now answered by {' '.join(part for part in who if part)}, before by {before}: scores from "
                "before and after may not compare"
            )

    def _limiter(self, model: str) -> Limiter:
        """Providers limit each model by itself."""
        if model not in self._limiters:
            terms = self._settings.endpoint(model)
            self._limiters[model] = Limiter(terms.rpm, terms.tpm, self._settings.concurrency)
            if price(model, self._settings) is None:
                self._on_trouble(f"{model} has no known price: its calls count as $0; {PRICES_HINT}")
        return self._limiters[model]

    async def _try(self, trial: _Trial, usable: Callable[[Completion], bool]) -> Completion:
        """One try, which is a call of its own for budget and ledger."""
        request = trial.request
        most = request.max_cost(price(request.model, self._settings))
        await self._budget.reserve(most)
        trial.params = self._terms[request.model].params(request)
        call = InFlightCall(trial.key, request, trial.params, time.time(), most)
        cost, calls = 0.0, 0
        try:
            await self._ledger.start(call)
            completion = await self._send(call, trial)
            cost, calls = completion.cost_usd, 1
            self.count(request.model, completion)
            with self._in_flight.one():
                # It is paid, whatever happens now.
                cost -= await asyncio.shield(self._ledger.settle(call, completion, usable=usable(completion)))
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

    async def _send(self, call: InFlightCall, trial: _Trial) -> Completion:
        """Send a call as soon as limits and gate allow."""
        model, limiter = call.request.model, self._limiter(call.request.model)
        estimator = self._estimators[model]
        tokens = estimator.estimate(call.request)
        await self._turn(limiter, tokens)
        if self._failure is not None:
            await self.fail(self._failure)
        sent, call.interrupted = time.monotonic(), True
        try:
            with self._in_flight.one():
                completion, headers = await self._call(call)
        except asyncio.CancelledError:
            self._in_flight.dropped.append(call.max_cost)
            raise
        except OpenAIError as error:
            fault = fault_of(error)
            call.interrupted = fault.billed
            if fault.kind is Kind.LIMIT:
                limiter.refused(sent, fault.retry_s)
            self._records[model].add(trial.counted_as, sent, passed=False)
            raise
        call.interrupted = False
        self._faults.recovered(model)
        self._outages[model].end()
        self._records[model].add(trial.counted_as, sent, passed=True)
        limiter.succeeded(sent, grow=model in self._ledger.readable)
        limiter.pause(seconds_until_reset(headers, limiter.unknown))
        limiter.correct(completion.prompt_tokens + completion.completion_tokens - tokens)
        estimator.learn(call.request, completion)
        return completion

    async def _turn(self, limiter: Limiter, tokens: float) -> None:
        """Wait until limits and gate allow a call: the gate first, so that a long pause saves up no turns."""
        while True:
            if self._gate is not None:
                await self._gate.wait()
            await limiter.turn(tokens)
            if self._gate is None or self._gate.is_set():
                return

    async def _call(self, call: InFlightCall) -> tuple[Completion, Mapping[str, str]]:
        """The completion of one call, and the response's headers; raises what litellm raises."""
        request, seconds = call.request, self._settings.timeout_s
        log_no_call()
        try:
            # litellm's own timeout starts again with each chunk of a response; it tells a lost connection from a slow
            # reply, and gets the time to do so.
            async with asyncio.timeout(seconds + SLACK_S):
                response = await self._litellm.acompletion(
                    **completion_arguments(request, call.params, self._settings, self._sandbox_base)
                )
        except TimeoutError:
            raise self._litellm.exceptions.Timeout("no complete reply in time", request.model, "") from None
        except OpenAIError:
            raise
        except Exception as error:
            raise self._unreadable(request.model, error) from error
        if response is None:  # litellm's way to say 422, whatever parameters it drops
            raise _unprocessable(self._litellm, request.model)
        own_price = self._settings.endpoint(request.model).input_price is not None
        try:
            completion = completion_of(response, request, price(request.model, self._settings), listed=not own_price)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise self._unreadable(request.model, error) from error
        return completion, response_headers(response)

    def _unreadable(self, model: str, error: Exception) -> OpenAIError:
        said = f"the response is not one of a chat: {type(error).__name__}: {error}"
        failure: OpenAIError = self._litellm.exceptions.InternalServerError(said, "", model)
        return failure

    async def _endure(self, fault: Fault, trial: _Trial) -> None:
        """Return when the next try may be made.

        Raises RefusedError where this request is refused alone, ServiceError where no try can help.
        """
        model = trial.request.model
        terms = self._terms[model]
        if (lesson := terms.learn(fault, trial.request, trial.params)) is not None:
            if lesson.told:
                self._on_trouble(f"{model} {lesson.told} ({self._faults.describe(fault)})")
            if lesson.max_tokens:
                trial.request = trial.request.allowing(lesson.max_tokens)
            return
        if fault.kind is Kind.REQUEST:
            raise RefusedError(self._faults.describe(fault))
        setup = fault.kind is Kind.SETUP and self._records[model].last_passed < 0
        if fault.kind is Kind.FINAL or setup:
            await self.fail(self._faults.unusable(fault, model))
        self._usage.failed_calls += 1
        self._failing.add(trial)
        self._usage.silent_since = self._usage.silent_since or time.time()
        self._on_change(self._usage)
        trial.began = trial.began or time.monotonic()
        self._faults.report(fault, model, trial.began)
        trial.tries += 1
        if await self._decide_alone(fault, trial):
            raise RefusedError(f"failed {trial.tries} times while others pass: {self._faults.describe(fault)}")
        await self._pause(fault, trial)

    async def _pause(self, fault: Fault, trial: _Trial) -> None:
        """Wait before the next try; raises ServiceError where that takes more patience than the user has."""
        passed, _ = self._records[trial.request.model].others(trial.key, trial.began)
        longest = BACKOFF_AMONG_OTHERS_S if passed else LONGEST_BACKOFF_S
        backoff = min(longest, FIRST_BACKOFF_S * 2.0**trial.tries) * random.uniform(0.5, 1.0)
        # A limit without a named pause is the limiter's: it paces all calls.
        seconds = fault.retry_s or (0.0 if fault.kind is Kind.LIMIT else backoff)
        # While other calls succeed the service is up, however long this one has failed.
        last_success = self._faults.last_success(trial.request.model)
        patience_ends = max(trial.began, last_success) + self._settings.patience_s
        if time.monotonic() + seconds > patience_ends:
            await self.fail(self._faults.gave_up(fault, trial.request.model))
        outage = self._outages[trial.request.model]
        if passed or trial.tries < FEW or fault.kind is Kind.LIMIT or outage.tries(trial):
            await asyncio.sleep(seconds)
        else:
            await outage.wait(min(LONGEST_WAIT_S, patience_ends - time.monotonic()))

    async def _decide_alone(self, fault: Fault, trial: _Trial) -> bool:
        """Whether the trouble is this request's, which a control call may have to tell.

        Raises ServiceError where the service has refused all requests so far: it is set up wrongly.
        """
        record, unclear, limit = (
            self._records[trial.request.model],
            fault.kind is Kind.UNCLEAR,
            fault.kind is Kind.LIMIT,
        )
        if trial.tries < (FEW if unclear or fault.billed else LIMITED_TRIES if limit else FREE_TRIES):
            return False
        # Where many wait for a limit, a control could be lucky.
        controls = not limit or record.others(trial.key, trial.began) == (0, 0)
        if record.fails_alone(trial.key, trial.began, trial.tries, random=not unclear, controls=controls):
            return True
        control = await self._control(trial.request) if controls else None
        if unclear and control is not None and control.kind in DEAD_ENDS and record.last_passed < 0:
            await self.fail(self._faults.unusable(fault, trial.request.model))
        return record.fails_alone(trial.key, trial.began, trial.tries, random=not unclear, controls=controls)

    async def _control(self, request: Request) -> Fault | None:
        """Ask the model something harmless in the same way: None where it answers, else the fault.

        One at a time for a model, and after a failure no other for a while.
        """
        model = request.model
        failed = self._control_faults.get(model)
        if failed is not None and time.monotonic() < failed[0] + LONGEST_BACKOFF_S:
            return failed[1]
        if model not in self._controls:
            task = self._controls[model] = asyncio.create_task(self._ask_control(request))
            task.add_done_callback(lambda _: self._controls.pop(model, None))
        return await asyncio.shield(self._controls[model])

    async def _ask_control(self, request: Request) -> Fault | None:
        harmless = replace(request, messages=[{"role": "user", "content": HARMLESS}])
        try:
            await self._try(_Trial(harmless.digest, harmless, counted_as=CONTROL), lambda _: False)
        except OpenAIError as error:
            fault = fault_of(error)
            if fault.kind is not Kind.REQUEST:
                self._control_faults[request.model] = (time.monotonic(), fault)
                return fault
        return None

    async def fail(self, failure: LlamaDuoError) -> NoReturn:
        """Fail for good, once the calls in flight, which are paid for, are done; no other is sent."""
        if self._failure is None:
            self._failure = failure
            if self._in_flight:
                self._on_trouble(f"{failure.message}; the run ends after its calls in flight")
        await self._in_flight.drain()
        raise self._failure from None


def _unprocessable(litellm: Any, model: str) -> OpenAIError:
    """The error with which a service calls a request malformed, of which litellm keeps the reason to itself."""
    said = "the service calls the request malformed (status 422)"
    response = httpx.Response(422, request=httpx.Request("POST", "http://service"))
    error: OpenAIError = litellm.exceptions.UnprocessableEntityError(said, model, "", response)
    error.body = {"message": said, "code": 422}
    return error


class _Trial:
    """The tries of one request so far: how many failed, and when the first did, on the monotonic clock (0: never)."""

    def __init__(self, key: str, request: Request, counted_as: str = "") -> None:
        self.key, self.request = key, request
        self.counted_as = counted_as or key
        self.params: Mapping[str, Any] | None = None
        self.tries, self.began = 0, 0.0
