"""Ask the service LLM: an answer counts once it has been read, is kept then, and is never paid for twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from msgspec.structs import replace

from engine.protocol.errors import LlamaDuoError, ServiceError
from engine.protocol.rows import Message, Tool
from engine.protocol.status import Stopping
from engine.service.batch import Batches
from engine.service.budget import Budget, Shortage
from engine.service.cache import Cache
from engine.service.completion import Completion, Request, Schema
from engine.service.fault_reporter import FaultReporter
from engine.service.faults import RefusedError
from engine.service.full_price import Ask, nobody_to_ask
from engine.service.in_flight import CallsInFlight
from engine.service.ledger import Ledger
from engine.service.models import max_output_tokens, supports_schema
from engine.service.output_parsing import ParsingError
from engine.service.patience import Patience
from engine.service.replies import MOST_REPLIES, Problem, Reader, Reading, corrected, read_reply, whole
from engine.service.sender import Sender
from engine.service.shared_replies import SharedReplies
from engine.service.usage import Usage
from engine.settings.schema import Service

T = TypeVar("T")

EMPTY_PAUSE_S, LONGEST_EMPTY_PAUSE_S = 1.0, 30.0
"""The pause after a first empty reply, and the longest: some services send them while they start."""

GROWTH, GROWTH_IN_THOUGHT = 2, 4
"""By how much the limit of tokens grows after a cut reply; more where thoughts took it all."""

READ_AT_ONCE = 64
"""Replies that the ledger or a batch job holds, looked up and read at once: the heart beats between thousands."""


class Client:
    """One for all stages of a worker, so that limits, ledger and budget are shared.

    `on_trouble` gets warnings about faults, twice a minute at most; `on_note` news of batch jobs; `on_used_up` is
    called when the budget is used up: calls then wait for `cap`. `on_drain` is told what an end waits for.
    `ask_full_price` asks a person whether calls that no batch job answers may be sent directly.
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
        on_drain: Callable[[Stopping], None] = lambda _: None,
        ask_full_price: Ask = nobody_to_ask,
    ) -> None:
        totals, interrupted = ledger.totals(), ledger.interrupted_costs
        self.usage = Usage(
            calls=totals.calls,
            prompt_tokens=totals.prompt_tokens,
            completion_tokens=totals.completion_tokens,
            cost_usd=totals.cost_usd,
        )
        self._settings = settings
        self._ledger = ledger
        self._shared = SharedReplies(cache, settings, sandbox_base, on_trouble)
        self._patience = Patience(ledger, settings.patience_s, on_trouble)
        self._on_change = on_change
        self._budget = Budget(
            settings.budget_usd,
            settings.budget_calls,
            spent=totals.cost_usd + sum(interrupted),
            calls_used=totals.calls + len(interrupted),
            on_used_up=on_used_up,
        )
        if interrupted and (settings.budget_usd, settings.budget_calls) != (None, None):
            on_trouble(f"{len(interrupted)} interrupted calls count against the budget, up to ${sum(interrupted):.4f}")
        self._pending: dict[str, asyncio.Task[Any]] = {}
        self._turns = asyncio.Semaphore(READ_AT_ONCE)
        faults = FaultReporter(settings, on_trouble)
        self._in_flight = CallsInFlight(settings.timeout_s, on_drain)
        self._sender = Sender(
            settings,
            ledger,
            self._budget,
            faults,
            self.usage,
            self._in_flight,
            sandbox_base=sandbox_base,
            gate=gate,
            on_change=on_change,
            on_trouble=on_trouble,
        )
        self._batches = Batches(
            settings,
            ledger,
            self._budget,
            faults,
            gate=gate,
            in_flight=self._in_flight.one,
            on_completion=self._sender.count,
            on_note=on_note,
            on_trouble=on_trouble,
            ask=ask_full_price,
            check=self._sender.check,
        )

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        read: Reader[T],
        max_tokens: int,
        temperature: float | None,
        tools: Sequence[Tool] = (),
        repeat: int = 0,
        schema: Schema | None = None,
        correct: bool = False,
        direct: bool = False,
    ) -> T:
        """What `read` makes of the completion of a chat; an identical request (of the same repeat) is paid once.

        Without a `temperature` it is the service's own. Calls of `tools` are in the text, as `message_text` writes
        them. The text follows `schema` where the model is known to support one. A reply that is empty, cut, filtered or
        that `read` cannot use is paid, but not kept: the request is sent again, with `correct` together with the
        problem. A `direct` request is in no batch job.

        Raises RefusedError for this request alone, ParsingError where no reply could be used, ServiceError where the
        service cannot be used.
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
                value: T = same.result()  # its failure is this one's, too
                self._count_cached()
                return value
        task = asyncio.create_task(self._answer(request, read, correct, direct))
        self._pending[request.digest] = task
        task.add_done_callback(lambda _: self._pending.pop(request.digest, None))
        return await task

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        max_tokens: int,
        temperature: float | None,
        tools: Sequence[Tool] = (),
        repeat: int = 0,
    ) -> Completion:
        """The completion of a chat, whole and without thoughts; otherwise as `ask`."""
        return await self.ask(
            messages,
            model=model,
            read=whole,
            max_tokens=max_tokens,
            temperature=temperature,
            tools=tools,
            repeat=repeat,
        )

    @property
    def spent(self) -> float:
        """USD that count against the run's budget: what was paid, and what interrupted calls may cost."""
        return self._budget.spent

    async def cap(self, usd: float | None, calls: int | None) -> None:
        """Set other caps than those of the settings."""
        await self._budget.cap(usd, calls)

    async def close(self) -> None:
        """Stop waiting for batch jobs."""
        await self._sender.close()
        await self._batches.close()

    async def drain(self) -> None:
        """Wait for the calls in flight, up to `timeout_s`: they are paid for. The gate keeps others from being sent."""
        await self._in_flight.drain()

    def drop(self) -> None:
        """End the wait for calls in flight, of a stop as of a failure."""
        self._in_flight.drop()

    @property
    def dropped(self) -> list[float]:
        """What each call may cost, in USD, that was in flight when the work was cancelled."""
        return self._in_flight.dropped

    async def fail(self, failure: LlamaDuoError) -> NoReturn:
        """Fail for good, once the calls in flight, which are paid for, are done; no other is sent."""
        await self._sender.fail(failure)

    @property
    def failed(self) -> bool:
        """Whether the service has failed for good: the work ends with that error."""
        return self._sender.failed

    async def _answer(self, request: Request, read: Reader[T], correct: bool, direct: bool) -> T:
        self._batches.adopt()
        async with self._turns:
            known = await self._known(request, read)
        if known is None and not direct:
            known = await self._from_batch(request, read, correct)
        reading = known or await self._until_read(request, read, correct)
        assert reading.value is not None or reading.problem is None
        return reading.value  # type: ignore[return-value]

    async def _known(self, request: Request, read: Reader[T]) -> Reading[T] | None:
        """What an earlier reply says, of this run or of another one, if it can be read."""
        if (completion := await self._ledger.completion(request)) is not None:
            if (reading := read_reply(completion, read)).problem is None:
                self._count_cached()
                return reading
            self._ledger.reject(request)
        if (completion := await self._shared.completion(request)) is not None:
            if (reading := read_reply(completion, read)).problem is None:
                await self._ledger.record(request, completion, time.time())
                self._count_cached()
                return reading
            await self._shared.forget(request)
        return None

    async def _from_batch(self, request: Request, read: Reader[T], correct: bool) -> Reading[T] | None:
        """What a batch job's reply says; None where the request is to be sent directly.

        One that cannot be read is asked again in another job: a direct call costs more.
        """
        sent, replies = request, 0
        while (completion := await self._batched(sent)) is not None:
            async with self._turns:
                await asyncio.sleep(0)
                reading = read_reply(completion, read)
            if reading.problem is None:
                if sent is not request:  # paid under the digest of what was sent
                    completion = replace(completion, prompt_tokens=0, completion_tokens=0, cost_usd=0.0)
                    await self._ledger.record(request, completion, time.time())
                self._ledger.readable.add(request.model)
                await self._shared.record(request, completion)
                return reading
            self._ledger.reject(sent)
            again, replies = self._again(request, sent, reading, correct), replies + 1
            if again is None or replies >= MOST_REPLIES[reading.problem.kind]:
                raise _exception(reading.problem)
            sent = again
        return None

    async def _batched(self, request: Request) -> Completion | None:
        try:
            return await self._batches.completion(request)
        except ServiceError as error:
            await self.fail(error)

    async def _until_read(self, request: Request, read: Reader[T], correct: bool) -> Reading[T]:
        """The first reply that can be read; raises for the problem of the last one otherwise."""
        async with self._sender.slot(request.model):
            first = sent = self._sender.fit(request)
            reading = await self._reply(request, sent, read)
            if reading.problem is None:
                return reading
            self._patience.unanswered(request.model, reading.problem)
            async with self._patience.turn_to_ask_again(request.model) as worth_it:
                problems = Counter([reading.problem.kind])
                while (
                    worth_it
                    and reading.problem is not None
                    and self._patience.asks_again(request.model, reading.problem, problems)
                ):
                    again = self._again(request, sent, reading, correct)
                    if again is None:
                        break
                    if reading.problem.kind in ("empty", "broken"):
                        await asyncio.sleep(min(LONGEST_EMPTY_PAUSE_S, EMPTY_PAUSE_S * problems.total()))
                    sent, reading = again, await self._reply(request, again, read)
                    problems.update([reading.problem.kind] if reading.problem is not None else ())
                if reading.problem is None:
                    if sent.max_completion_tokens > first.max_completion_tokens:
                        self._sender.needs(request.model, sent.max_completion_tokens)
                    return reading
                if worth_it:
                    self._patience.asked_in_vain(request.model)
        raise _exception(reading.problem)

    async def _reply(self, request: Request, sent: Request, read: Reader[T]) -> Reading[T]:
        """Send a request in place of another, and read the reply; it is kept if it can be read."""
        reading: Reading[T] | None = None

        def usable(completion: Completion) -> bool:
            nonlocal reading
            reading = read_reply(completion, read)
            return reading.problem is None

        completion = await self._sender.reply(request.digest, sent, usable)
        assert reading is not None
        if reading.problem is None:
            self._patience.answered(request.model)
            await self._shared.record(request, completion)
        return reading

    def _again(self, request: Request, sent: Request, reading: Reading[Any], correct: bool) -> Request | None:
        """What to send after a reply with a problem; None where nothing is left to try."""
        problem = reading.problem
        assert problem is not None
        if problem.kind == "cut" and "max_tokens" not in self._settings.params:
            most = max_output_tokens(request.model)
            wanted = sent.max_completion_tokens * (GROWTH if problem.text else GROWTH_IN_THOUGHT)
            longer = self._sender.fit(sent.allowing(min(wanted, most or wanted)))
            if longer.max_completion_tokens > sent.max_completion_tokens:
                return longer
        if problem.kind in ("cut", "unreadable"):
            return corrected(sent, problem) if correct else None
        return sent

    def _count_cached(self) -> None:
        self.usage.cached_calls += 1
        self._on_change(self.usage)


def _exception(problem: Problem) -> Exception:
    return RefusedError(problem.reason) if problem.kind == "refused" else ParsingError(problem.reason)
