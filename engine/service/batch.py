"""Send calls in batches: the calls of a stage become jobs, cost half, and come back within a day.

Callers notice nothing but the time. A job is recorded before it is sent and carries our name for it, so that a worker
that starts again waits for it instead of sending it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from engine.service.batch_api import BatchApi
from engine.service.batch_queue import MIN_CALLS, BatchQueue, Shared
from engine.service.budget import Budget
from engine.service.callers import Callers, Requests
from engine.service.completion import Completion, Request
from engine.service.fault_reporter import FaultReporter
from engine.service.full_price import Ask
from engine.service.ledger import Ledger
from engine.service.models import batch_provider
from engine.settings.schema import Service

QUIET_S = 1.0
"""Calls are gathered until none has come for this long."""


class Batches:
    """A client's jobs: gathers calls for the queue of their model, over as many workers as it takes.

    `check` raises ServiceError where a model takes no direct calls; `ask` asks a person before others are made.
    """

    def __init__(
        self,
        settings: Service,
        ledger: Ledger,
        budget: Budget,
        faults: FaultReporter,
        *,
        gate: asyncio.Event | None,
        in_flight: Callable[[], AbstractContextManager[None]],
        on_completion: Callable[[str, Completion], None],
        on_note: Callable[[str], None],
        on_trouble: Callable[[str], None],
        ask: Ask,
        check: Callable[[Request], Awaitable[None]],
    ) -> None:
        self._settings, self._ledger = settings, ledger
        self._callers = Callers()
        self._shared = Shared(
            settings=settings,
            ledger=ledger,
            budget=budget,
            faults=faults,
            api=BatchApi(settings, faults, on_note=on_note, on_trouble=on_trouble),
            callers=self._callers,
            gate=gate,
            in_flight=in_flight,
            on_completion=on_completion,
            on_note=on_note,
            on_trouble=on_trouble,
            ask=ask,
            check=check,
        )
        self._queues: dict[str, BatchQueue] = {}
        self._gathered: Requests = {}
        self._last = 0.0
        self._gathering: asyncio.Task[None] | None = None
        self._adopted = ledger.jobs.open()
        for job in self._adopted:
            budget.hold(job.max_cost, len(job.requests))

    async def completion(self, request: Request) -> Completion | None:
        """The completion from a job; None where the request is to be sent directly.

        Raises ServiceError where the service cannot be used.
        """
        if (known := await self._ledger.completion(request)) is not None:  # of a job that was settled just now
            return known
        key = request.digest
        waiting = self._callers.add(key)
        try:
            if not (waiting.done() or self._queue(request.model).has(key)):
                if not self._settings.batch or batch_provider(request.model) is None:
                    return None
                self._gather(request)
            return await waiting
        finally:
            self._callers.remove(key)
            self._gathered.pop(key, None)

    async def close(self) -> None:
        """Stop waiting for jobs; they go on at the provider."""
        if self._gathering is not None:
            self._gathering.cancel()
        for queue in self._queues.values():
            await queue.close()

    def _queue(self, model: str) -> BatchQueue:
        if model not in self._queues:
            self._queues[model] = BatchQueue(model, self._shared)
        return self._queues[model]

    def adopt(self) -> None:
        """Wait for the jobs of earlier workers, from the first call on."""
        adopted, self._adopted = self._adopted, []
        for job in adopted:
            self._queue(job.model).adopt(job)

    def _gather(self, request: Request) -> None:
        self._gathered[request.digest] = request
        self._last = time.monotonic()
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._send_gathered())

    async def _send_gathered(self) -> None:
        while (left := self._last + QUIET_S - time.monotonic()) > 0:  # noqa: ASYNC110 - time passes, no event is set
            await asyncio.sleep(left)
        gathered, self._gathered = self._gathered, {}
        for model in dict.fromkeys(request.model for request in gathered.values()):
            requests = {key: request for key, request in gathered.items() if request.model == model}
            if len(requests) < MIN_CALLS:
                self._callers.give(requests, {})
            else:
                self._queue(model).add(requests)
