"""A provider's batch and files endpoints, through litellm: send a job, wait for its end, read its results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from openai import OpenAIError

from engine.service.batch_lines import ENDPOINT, Results, request_line
from engine.service.fault_reporter import FaultReporter
from engine.service.faults import Kind, fault_of
from engine.service.jobs import Job
from engine.service.models import batch_provider, endpoint, load_litellm, price
from engine.settings.schema import Service

T = TypeVar("T")

FIRST_POLL_S, POLL_FACTOR, MAX_POLL_S = 15.0, 1.5, 300.0
REPORT_EVERY_S = 600.0
OVERDUE_S = 26 * 3600.0
"""A job has ended by then, or most likely never does: providers promise 24 hours."""

PAGES = 20
"""How far back to search for a job among a provider's latest, a hundred to a page."""

ENDED = ("completed", "failed", "expired", "cancelled")
TAG = "llamaduo"
"""The metadata key of a job's name."""


class BatchApi:
    """Asks again where the provider is busy or down, for `patience_s`; lasting errors are raised as litellm does."""

    def __init__(
        self,
        settings: Service,
        faults: FaultReporter,
        *,
        on_note: Callable[[str], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._litellm = load_litellm()
        self._settings, self._faults = settings, faults
        self._on_note, self._on_trouble = on_note, on_trouble
        self._reached = False

    async def send(self, job: Job) -> str:
        """The provider's id for a job; a job that an earlier try has created is found there, not created again.

        Raises OpenAIError where the provider refuses the job, at once for a rate limit.
        """
        provider = self._provider_arguments(job)
        content = b"".join(request_line(request) for request in job.requests.values())
        search = False

        async def send() -> str:
            nonlocal search
            sent, search = await self._search(job) if search else None, True
            if sent is not None:
                return sent
            file = await self._litellm.acreate_file(file=(f"{job.name}.jsonl", content), purpose="batch", **provider)
            batch = await self._litellm.acreate_batch(
                completion_window="24h",
                endpoint=ENDPOINT,
                input_file_id=file.id,
                metadata={TAG: job.name},
                **provider,
            )
            return str(batch.id)

        return await self._retried(job, send, sending=True)

    async def find(self, job: Job) -> str | None:
        """The id of a job that an earlier worker may have created, None where the provider doesn't have it."""
        return await self._retried(job, lambda: self._search(job))

    async def end(self, job: Job, on_status: Callable[[str], None]) -> Any:
        """The provider's record of a job that has ended, well or not; `on_status` gets its status at each poll."""
        wait, reported, overdue = FIRST_POLL_S, time.monotonic(), False
        while True:
            batch = await self._retried(
                job, lambda: self._litellm.aretrieve_batch(batch_id=job.id, **self._provider_arguments(job))
            )
            on_status(batch.status)
            if batch.status in ENDED:
                return batch
            if not overdue and time.time() - job.started > OVERDUE_S:
                overdue = True
                self._on_trouble(
                    f"batch job {job.id} has not ended {age(job)} after it was sent ({_counts(batch)}); "
                    "cancel it with the provider, and the run asks how to go on with its calls"
                )
            elif time.monotonic() - reported >= REPORT_EVERY_S:
                reported = time.monotonic()
                self._on_note(f"batch job {job.id}: {_counts(batch)}, sent {age(job)} ago")
            await asyncio.sleep(wait)
            wait = min(MAX_POLL_S, wait * POLL_FACTOR)

    async def results(self, job: Job, batch: Any) -> Results:
        """The results of a job that has ended; one that was cancelled or expired may have some."""
        prices, results = price(job.model, self._settings, batch=True), Results()
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            try:
                content = (await self._retried(job, lambda file=file: self._content(job, file))).content  # type: ignore[misc]
            except OpenAIError:
                if file == batch.output_file_id:
                    raise
                continue  # without the file of errors the reasons are unknown, and nothing is lost
            results.read(content, job.requests, prices)
        return results

    async def _content(self, job: Job, file: str) -> Any:
        return await self._litellm.afile_content(file_id=file, **self._provider_arguments(job))

    async def _search(self, job: Job) -> str | None:
        """The id of a job among the provider's latest."""
        after = None
        for _ in range(PAGES):
            page = await self._litellm.alist_batches(after=after, limit=100, **self._provider_arguments(job))
            for batch in page.data:
                if (batch.metadata or {}).get(TAG) == job.name:
                    return str(batch.id)
            if not page.data or not page.has_more or page.data[-1].created_at < job.started:
                return None
            after = page.data[-1].id
        return None

    async def _retried(self, job: Job, call: Callable[[], Awaitable[T]], *, sending: bool = False) -> T:
        """Call until it succeeds.

        Raises lasting errors, and ServiceError where the service stays away. While `sending`, a rate limit is an answer
        as well, and a provider that is reached and fails for all that time raises its error.
        """
        tries, began = 0, 0.0
        while True:
            try:
                result = await call()
            except OpenAIError as error:
                fault = fault_of(error)
                passing = fault.kind in (Kind.LIMIT, Kind.PASSING) or (fault.kind is Kind.SETUP and self._reached)
                if not passing or fault.status == 501 or (sending and fault.kind is Kind.LIMIT):
                    raise
                tries += 1
                began = began or time.monotonic()
                self._faults.report(fault, f"{job.model} (batch)", began)
                seconds = fault.retry_s or min(MAX_POLL_S, 2.0**tries)
                if time.monotonic() + seconds > began + self._settings.patience_s:
                    if sending and fault.status:
                        raise
                    raise self._faults.gave_up(fault, job.model) from None
                await asyncio.sleep(seconds)
            else:
                self._reached = True
                self._faults.recovered(f"{job.model} (batch)")
                return result

    def _provider_arguments(self, job: Job) -> dict[str, Any]:
        where = endpoint(job.model, self._settings)
        return {"custom_llm_provider": batch_provider(job.model), "max_retries": 0, **where}


def backoff(tries: int, named: float | None) -> float:
    """Seconds to the next try to send a job, after so many that the provider refused; `named` are those it asks for."""
    return float(min(MAX_POLL_S, named or FIRST_POLL_S * POLL_FACTOR ** min(tries, 50)))


def age(job: Job) -> str:
    """For how long a job has been at the provider."""
    minutes = int(max(0.0, time.time() - job.started) // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _counts(batch: Any) -> str:
    counts = batch.request_counts
    if counts is None or not counts.total:
        return str(batch.status)
    return f"{counts.completed:,} of {counts.total:,} done" + (f", {counts.failed:,} failed" * bool(counts.failed))
