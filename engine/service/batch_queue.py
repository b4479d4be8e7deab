"""The batch jobs of one model: cut to what budget and queue allow, sent one after the other, and collected.

Calls pay the full price only where the provider takes no jobs, where a job leaves few of them open, or where a person
says so.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

from openai import OpenAIError

from engine.protocol.counts import number_of
from engine.protocol.errors import ServiceError
from engine.service.batch_api import BatchApi, age, backoff
from engine.service.batch_faults import Obstacle, failure_of, names_permission, obstacle
from engine.service.batch_lines import Results, request_line
from engine.service.budget import Budget
from engine.service.callers import Callers, Requests
from engine.service.completion import Completion, Request
from engine.service.fault_reporter import FaultReporter
from engine.service.faults import error_status, retry_delay
from engine.service.full_price import Ask, DirectCalls, FullPrice, usd
from engine.service.jobs import Job
from engine.service.ledger import Ledger
from engine.service.models import price
from engine.settings.schema import Service

MIN_CALLS = 10
"""Fewer calls are sent directly: a job would take as long, and save next to nothing."""

MAX_REQUESTS, MAX_BYTES = 50_000, 190_000_000
"""The size of a job: OpenAI's limits are 50,000 requests and 200 MB."""

MAX_JOBS = 3
"""Jobs that may leave a call open before a person is asked."""

NOTE_EVERY_S = 600.0

PERMISSIONS = "the API key may not use batch jobs: give it the permissions api.batch.write and api.files.write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the queues of all models share; `check` raises ServiceError where a model takes no direct calls either."""

    settings: Service
    ledger: Ledger
    budget: Budget
    faults: FaultReporter
    api: BatchApi
    callers: Callers
    gate: asyncio.Event | None
    in_flight: Callable[[], AbstractContextManager[None]]
    on_completion: Callable[[str, Completion], None]
    on_note: Callable[[str], None]
    on_trouble: Callable[[str], None]
    ask: Ask
    check: Callable[[Request], Awaitable[None]]


class _Asked(NamedTuple):
    """A question that is open while the queue tries on, and the requests that it is about."""

    question: FullPrice
    requests: Requests
    answer: asyncio.Task[bool]


class BatchQueue:
    """The jobs of one model, and the requests that wait for the next one."""

    def __init__(self, model: str, shared: Shared) -> None:
        self._model, self._shared = model, shared
        self._settings, self._callers = shared.settings, shared.callers
        self._direct = DirectCalls(
            model, shared.settings, self._callers, ask=shared.ask, on_trouble=shared.on_trouble, on_rejected=self.add
        )
        self._pending: Requests = {}
        self._open: dict[str, Job] = {}
        self._sending: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sizes: dict[str, int] = {}
        self._job_ended = asyncio.Event()
        # What stands in the way of the next job.
        self._failed: tuple[OpenAIError, int] | None = None
        self._most = self._limit = MAX_REQUESTS
        self._tries = 0
        self._ask_from: float | None = None
        self._noted = -math.inf
        self._asked: _Asked | None = None
        self._works_directly = False
        self._left_open: Counter[str] = Counter()
        """By request, how many jobs have left it open."""

    def add(self, requests: Requests) -> None:
        """Send these requests with the next jobs."""
        self._pending.update(requests)
        if self._pending and (self._sending is None or self._sending.done()):
            self._sending = self._start(self._send_all())

    def adopt(self, job: Job) -> None:
        """Wait for a job of an earlier worker."""
        self._open[job.name] = job
        self._start(self._carry_out(job, asyncio.Event(), adopted=True))

    def has(self, key: str) -> bool:
        """Whether a request is in an open job, or waits for one or for a person's answer."""
        return (
            key in self._pending or self._direct.holds(key) or any(key in job.requests for job in self._open.values())
        )

    async def close(self) -> None:
        """Stop waiting for jobs; they go on at the provider."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for job in self._open.values():
            if job.id is not None:
                self._note(f"batch job {job.id} is still running at the provider; resume collects its results")

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _note(self, message: str) -> None:
        self._shared.on_note(message)

    # Sending jobs.

    async def _send_all(self) -> None:
        try:
            while self._callers.wanted(self._pending):
                self._pending = self._callers.wanted(self._pending)
                if self._failed is not None:
                    (error, size), self._failed = self._failed, None
                    await self._get_around(error, size)
                else:
                    job, accepted = await self._cut(), asyncio.Event()
                    self._start(self._carry_out(job, accepted))
                    await accepted.wait()
        except Exception as error:  # noqa: BLE001 - it is raised where the completions are awaited
            self._callers.fail(self._take_pending(), error)
        finally:
            if self._asked is not None:
                self._asked.question.moot = True
                self._asked = None

    async def _cut(self) -> Job:
        """The next job: as many pending requests as budget and queue allow now, with the budget for them reserved."""
        await self._go_ahead()
        requests = self._fitting()
        prices = price(self._model, self._settings, batch=True)
        most = [request.max_cost(prices) for request in requests.values()]
        fit = await self._shared.budget.reserve_some(most, min(MIN_CALLS, len(most)))
        await self._go_ahead()
        job = Job(model=self._model, requests=dict(list(requests.items())[:fit]), max_cost=sum(most[:fit]))
        self._open[job.name] = job
        for key in job.requests:
            del self._pending[key]
        return job

    def _fitting(self) -> Requests:
        """The first pending requests that fit into a job; at least one, however long."""
        chosen, size = Requests(), 0
        for key, request in self._pending.items():
            if key not in self._sizes:
                self._sizes[key] = len(request_line(request))
            size += self._sizes[key]
            if chosen and (len(chosen) == self._limit or size > MAX_BYTES):
                break
            chosen[key] = request
        return chosen

    async def _go_ahead(self) -> None:
        if self._shared.gate is not None:
            await self._shared.gate.wait()

    async def _carry_out(self, job: Job, accepted: asyncio.Event, adopted: bool = False) -> None:
        """Carry a job to its end: its callers get the completions, or its failure.

        `accepted` is set once the provider works on it, or has refused it.
        """
        try:
            if job.id is not None:
                self._note(f"batch job {job.id}: waiting for its {number_of(len(job.requests), 'call')}, sent earlier")
            elif not await (self._find(job) if adopted else self._send(job)):
                return
            try:
                batch = await self._shared.api.end(
                    job, lambda status: None if status in ("validating", "failed") else accepted.set()
                )
                results = await self._shared.api.results(job, batch)
            except OpenAIError as error:
                await self._without_results(job, error)
            else:
                await self._release(job, results.completions)
                await self._hand_out(job, batch, results)
        except Exception as error:  # noqa: BLE001 - it is raised where the completions are awaited
            if self._open.pop(job.name, None) is not None:
                await self._shared.budget.settle(job.max_cost, 0.0, 0, len(job.requests))
            self._callers.fail(job.requests, error)
        finally:
            accepted.set()
            self._job_ended.set()

    async def _send(self, job: Job) -> bool:
        """Send a job; where the provider refuses it, its requests wait again."""
        await self._shared.ledger.jobs.record(job)
        try:
            with self._shared.in_flight():
                job.id = await self._shared.api.send(job)
                await self._shared.ledger.jobs.mark_sent(job)
        except OpenAIError as error:
            await self._release(job, {})
            self._put_back(job, job.requests, error)
            return False
        left = f"; {len(self._pending):,} more wait for the next job" if self._pending else ""
        self._note(f"batch job {job.id}: {number_of(len(job.requests), 'call')} sent; results take up to 24 h{left}")
        return True

    async def _find(self, job: Job) -> bool:
        """Find a job that an earlier worker was about to send; where it never arrived, its requests wait again."""
        try:
            job.id = await self._shared.api.find(job)
        except OpenAIError as error:
            if obstacle(error) in (Obstacle.ACCOUNT, Obstacle.LOCKED):
                raise self._shared.faults.unusable(error, self._model) from None
            self._note(f"cannot search the provider for a batch job: {self._shared.faults.describe(error)}")
        if job.id is not None:
            await self._shared.ledger.jobs.mark_sent(job)
            self._note(f"batch job {job.id}: waiting for its {number_of(len(job.requests), 'call')}, sent earlier")
            return True
        await self._release(job, {})
        if self._settings.batch:
            self.add(self._callers.wanted(job.requests))
        else:
            self._callers.give(job.requests, {})
        return False

    def _put_back(self, job: Job, requests: Requests, error: OpenAIError) -> None:
        """The requests of a refused job are the first that wait again."""
        if wanted := self._callers.wanted(requests):
            self._failed = error, len(job.requests)
            self.add({**wanted, **self._take_pending()})

    async def _release(self, job: Job, completions: dict[str, Completion]) -> None:
        """Record what a job has brought; it is no longer open."""
        await self._shared.ledger.settle_job(job, completions)
        for completion in completions.values():
            self._shared.on_completion(job.model, completion)
        cost = sum(completion.cost_usd for completion in completions.values())
        await self._shared.budget.settle(job.max_cost, cost, len(completions), len(job.requests))
        del self._open[job.name]

    def _take_pending(self) -> Requests:
        pending, self._pending = self._pending, {}
        return pending

    # What a job has brought.

    async def _without_results(self, job: Job, error: OpenAIError) -> None:
        """Its results cannot be read, and it may be paid for: only users say that it is paid for again."""
        described = self._shared.faults.describe(error)
        if self._settings.batch:
            raise ServiceError(
                f"cannot collect batch job {job.id}: {described}",
                "resume with the API key that sent it, or set batch = false to pay for its calls again",
            )
        await self._release(job, {})
        self._direct.send(self._callers.wanted(job.requests), f"cannot collect batch job {job.id}: {described}")

    async def _hand_out(self, job: Job, batch: Any, results: Results) -> None:
        done = results.completions
        self._direct.learn(done.values())
        self._callers.give({key: job.requests[key] for key in done}, done)
        if done:
            self._tries, self._ask_from, self._limit = 0, None, min(self._most, 2 * self._limit)
        cost = sum(completion.cost_usd for completion in done.values())
        ended = f"batch job {job.id} {batch.status} after {age(job)}: {number_of(len(done), 'reply')} for {usd(cost)}"
        rest = self._callers.wanted({key: request for key, request in job.requests.items() if key not in done})
        if not rest:
            self._note(ended)
        elif not self._settings.batch:
            self._direct.send(rest, ended)
        elif batch.status == "failed":
            self._put_back(job, rest, failure_of(batch))
        elif batch.status == "cancelled":
            await self._direct.ask(rest, f"{ended}; it was cancelled with the provider", by_hand=True)
        else:
            await self._hand_out_rest(rest, results, ended)

    async def _hand_out_rest(self, rest: Requests, results: Results, ended: str) -> None:
        """What a job leaves open goes into another one, as long as jobs get somewhere."""
        problem = (
            f"; first error: {self._shared.faults.describe(Exception(results.problem))}" if results.problem else ""
        )
        if len(results.completions) <= len(results.refused):  # nothing came of it, or most of it was refused
            await self._direct.ask(rest, ended + problem)
            return
        refused = {key: request for key, request in rest.items() if key in results.refused}
        open_ = {key: request for key, request in rest.items() if key not in results.refused}
        self._left_open.update(open_.keys())
        if len(open_) < MIN_CALLS:
            refused, open_ = rest, {}
        if refused:
            self._direct.send(refused, ended + problem)
        stuck = {key: request for key, request in open_.items() if self._left_open[key] >= MAX_JOBS}
        again = {key: request for key, request in open_.items() if key not in stuck}
        if again:
            self._note(f"{ended}; {len(again):,} open calls go into another job{problem}")
            self.add(again)
        if stuck:
            await self._direct.ask(stuck, f"{ended}; {MAX_JOBS} jobs have left these calls open{problem}")

    # What stands in the way of a job.

    async def _get_around(self, error: OpenAIError, size: int) -> None:
        """Make the next job of the pending requests possible, after one of `size` calls was refused, or do without."""
        described = self._shared.faults.describe(error)
        match obstacle(error):
            case Obstacle.ACCOUNT:
                raise self._shared.faults.unusable(error, self._model)
            case Obstacle.UNSUPPORTED:
                self._direct.send(self._take_pending(), f"{self._model} takes no batch jobs: {described}")
            case Obstacle.TOO_LARGE if size < 2 * MIN_CALLS:
                reason = f"{self._model} takes no batch job of {number_of(size, 'call')}: {described}"
                self._direct.send(self._take_pending(), reason)
            case Obstacle.TOO_LARGE:
                self._most = self._limit = size // 2
                self._note(f"batch job too large, the next has {number_of(self._limit, 'call')}: {described}")
            case Obstacle.QUEUE:
                self._limit = max(1, size // 2)
                await self._wait_for_room(error, f"the provider's batch queue has no room: {described}")
            case Obstacle.PASSING:
                busy = f"the provider takes no batch job for now: {described}"
                await self._wait_for_room(error, busy, at_once=error_status(error) >= 500)
            case Obstacle.LOCKED:
                if not names_permission(error) and not self._works_directly:
                    await self._shared.check(next(iter(self._pending.values())))
                    self._works_directly = True
                await self._wait_for_room(error, f"{PERMISSIONS}: {described}", at_once=True)
            case Obstacle.REFUSED:
                await self._direct.ask(self._take_pending(), f"batch job refused: {described}")

    async def _wait_for_room(self, error: OpenAIError, reason: str, *, at_once: bool = False) -> None:
        """Wait before the next try; ask a person once that has lasted, while the tries go on.

        While an own job is open it may make room, however long that takes.
        """
        self._tries += 1
        now, delay = time.monotonic(), backoff(self._tries, retry_delay(error))
        if self._ask_from is None or (self._open and not at_once):
            self._ask_from = now + (0.0 if at_once else self._settings.patience_s)
        if now - self._noted >= NOTE_EVERY_S:
            self._noted = now
            self._note(f"{reason}; trying again with at most {number_of(min(self._limit, len(self._pending)), 'call')}")
        if self._asked is None and now + delay > self._ask_from:
            question = self._direct.question(self._pending, reason)
            self._asked = _Asked(question, dict(self._pending), self._start(self._shared.ask(question)))  # type: ignore[arg-type]
        self._job_ended.clear()
        ended = self._start(self._job_ended.wait())
        waited_for = {ended} | ({self._asked.answer} if self._asked is not None else set())
        await asyncio.wait(waited_for, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if self._asked is not None and self._asked.answer.done():
            asked, self._asked = self._asked, None
            if asked.answer.result():
                still = {key: request for key, request in asked.requests.items() if key in self._pending}
                self._pending = {key: self._pending[key] for key in self._pending if key not in still}
                self._direct.send(still, reason)
            else:
                self._ask_from, self._tries = time.monotonic() + self._settings.patience_s, 0
