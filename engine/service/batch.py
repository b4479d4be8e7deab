"""Send calls in batches: the calls of a stage become one job, cost half, and come back within a day.

Callers notice nothing but the time. A job is recorded before it is sent and carries our name for it, so that a worker
that starts again waits for it instead of sending it again. Calls that a job leaves open are sent directly.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from typing import Annotated, Any, TypeVar

from openai import OpenAIError
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from engine.protocol.errors import ServiceError
from engine.service.budget import Budget
from engine.service.completion import Completion, Request
from engine.service.fault_reporter import FaultReporter
from engine.service.faults import is_transient, locks_out, retry_delay
from engine.service.jobs import Job
from engine.service.ledger import Ledger
from engine.service.litellm_adapter import completion_of, provider_body
from engine.service.models import batch_provider, endpoint, load_litellm, price
from engine.settings.schema import Service

T = TypeVar("T")

QUIET_S = 1.0
"""Calls are gathered until none has come for this long."""

MIN_CALLS = 10
"""Fewer calls are sent directly: a job would take as long, and save next to nothing."""

MAX_REQUESTS, MAX_BYTES = 50_000, 190_000_000
"""The size of a job: OpenAI's limits are 50,000 requests and 200 MB."""

FIRST_POLL_S, POLL_FACTOR, MAX_POLL_S = 15.0, 1.5, 300.0
REPORT_EVERY_S = 600.0
PAGES = 20
"""How far back to search for a job among a provider's latest, a hundred to a page."""

ENDED = ("completed", "failed", "expired", "cancelled")
ENDPOINT = "/v1/chat/completions"
TAG = "llamaduo"
"""The metadata key of a job's name."""


class Batches:
    """A client's jobs: gathers calls, sends them and waits for the results, over as many workers as it takes."""

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
    ) -> None:
        self._litellm = load_litellm()
        self._settings = settings
        self._ledger = ledger
        self._budget = budget
        self._faults = faults
        self._gate = gate
        self._in_flight = in_flight
        self._on_completion = on_completion
        self._on_note = on_note
        self._waiting: dict[str, asyncio.Future[Completion | None]] = {}
        self._gathered: dict[str, Request] = {}
        self._last = 0.0
        self._gathering: asyncio.Task[None] | None = None
        self._adopted = ledger.jobs.open()
        self._open: list[Job] = []
        self._tasks: set[asyncio.Task[None]] = set()
        for job in self._adopted:
            budget.hold(job.max_cost, len(job.requests))

    async def completion(self, request: Request) -> Completion | None:
        """The completion from a job; None where the request is to be sent directly.

        Raises ServiceError where the service cannot be used.
        """
        self._start_adopted()
        if (known := await self._ledger.completion(request)) is not None:  # of a job that was settled just now
            return known
        key = request.digest
        waiting: asyncio.Future[Completion | None]
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            if not any(key in job.requests for job in self._open):
                if not self._settings.batch or batch_provider(request.model) is None:
                    return None
                self._gather(request)
            return await waiting
        finally:
            del self._waiting[key]
            self._gathered.pop(key, None)

    async def close(self) -> None:
        """Stop waiting for jobs; they go on at the provider."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for job in self._open:
            if job.id is not None:
                self._on_note(f"batch job {job.id} is still running at the provider; resume collects its results")

    def _start_adopted(self) -> None:
        """Wait for the jobs of earlier workers, from the first call on."""
        for job in self._adopted:
            self._start(self._complete(job, adopted=True))
            self._open.append(job)
        self._adopted = []

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _gather(self, request: Request) -> None:
        self._gathered[request.digest] = request
        self._last = time.monotonic()
        if self._gathering is None or self._gathering.done():
            self._gathering = self._start(self._send_gathered())

    async def _send_gathered(self) -> None:
        while (left := self._last + QUIET_S - time.monotonic()) > 0:  # noqa: ASYNC110 - time passes, no event is set
            await asyncio.sleep(left)
        gathered, self._gathered = self._gathered, {}
        try:
            chunks = list(_chunks(gathered))
        except Exception as error:  # noqa: BLE001 - it is raised where the completions are awaited
            self._fail(gathered, error)
            return
        for model, requests in chunks:
            if len(requests) < MIN_CALLS:
                self._resolve(requests, {})
                continue
            prices = price(model, self._settings, batch=True)
            most = sum(request.max_cost(prices) for request in requests.values())
            job = Job(model=model, requests=requests, max_cost=most)
            self._open.append(job)
            self._start(self._complete(job))

    async def _complete(self, job: Job, adopted: bool = False) -> None:
        """Carry out a job; its waiting callers get the completions, or its failure."""
        completions: dict[str, Completion] = {}
        try:
            if not adopted:
                await self._budget.reserve(job.max_cost, len(job.requests))
            try:
                completions = await self._run(job, adopted)
            finally:
                cost = sum(completion.cost_usd for completion in completions.values())
                await self._budget.settle(job.max_cost, cost, len(completions), len(job.requests))
        except Exception as error:  # noqa: BLE001 - it is raised where the completions are awaited
            self._open.remove(job)
            self._fail(job.requests, error)
        else:
            self._open.remove(job)
            self._resolve(job.requests, completions)

    def _resolve(self, requests: dict[str, Request], completions: dict[str, Completion]) -> None:
        for key in requests:
            waiting = self._waiting.get(key)
            if waiting is not None and not waiting.done():
                waiting.set_result(completions.get(key))

    def _fail(self, requests: dict[str, Request], error: Exception) -> None:
        for key in requests.keys() & self._waiting.keys():
            if not self._waiting[key].done():
                self._waiting[key].set_exception(error)

    async def _run(self, job: Job, adopted: bool) -> dict[str, Completion]:
        """The completions of a job, recorded in the ledger."""
        if not adopted:
            if self._gate is not None:
                await self._gate.wait()
            await self._ledger.jobs.record(job)
        try:
            if job.id is None:
                with self._in_flight():
                    job.id = await self._send(job, search_first=adopted)
                    await self._ledger.jobs.mark_sent(job)
                self._on_note(f"batch job {job.id}: {len(job.requests):,} calls sent; results take up to 24 h")
            else:
                self._on_note(f"batch job {job.id}: waiting for its {len(job.requests):,} calls, sent earlier")
            completions = await self._collect(job, await self._wait_for_end(job))
        except OpenAIError as error:
            if locks_out(error):
                raise self._faults.unusable(error, job.model) from None
            if job.id is not None and self._settings.batch:
                raise ServiceError(
                    f"cannot collect batch job {job.id}: {self._faults.describe(error)}",
                    "resume with the API key that sent it, or set batch = false to pay for its calls again",
                ) from None
            self._on_note(f"batch job rejected; its calls are sent directly: {self._faults.describe(error)}")
            completions = {}
        await self._ledger.settle_job(job, completions)
        for completion in completions.values():
            self._on_completion(job.model, completion)
        return completions

    async def _send(self, job: Job, search_first: bool) -> str:
        """The provider's id for a job; a job that an earlier try has sent is found there, not sent again."""
        provider = self._provider_arguments(job)
        lines = [_line(request) for request in job.requests.values()]
        search = search_first

        async def send() -> str:
            nonlocal search
            sent, search = await self._find_at_provider(job) if search else None, True
            if sent is not None:
                return sent
            file = await self._litellm.acreate_file(
                file=(f"{job.name}.jsonl", b"".join(lines)), purpose="batch", **provider
            )
            batch = await self._litellm.acreate_batch(
                completion_window="24h",
                endpoint=ENDPOINT,
                input_file_id=file.id,
                metadata={TAG: job.name},
                **provider,
            )
            return str(batch.id)

        return await self._retried(job, send)

    async def _find_at_provider(self, job: Job) -> str | None:
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

    async def _wait_for_end(self, job: Job) -> Any:
        """The provider's record of a job that has ended, well or not; its progress is reported now and then."""
        wait, reported = FIRST_POLL_S, time.monotonic()
        while True:
            batch = await self._retried(
                job, lambda: self._litellm.aretrieve_batch(batch_id=job.id, **self._provider_arguments(job))
            )
            if batch.status in ENDED:
                return batch
            if time.monotonic() - reported >= REPORT_EVERY_S:
                reported = time.monotonic()
                self._on_note(f"batch job {job.id}: {_counts(batch)}, sent {_age(job)} ago")
            await asyncio.sleep(wait)
            wait = min(MAX_POLL_S, wait * POLL_FACTOR)

    async def _collect(self, job: Job, batch: Any) -> dict[str, Completion]:
        """The completions in a job's output, by key; an expired job has some."""
        prices, completions = price(job.model, self._settings, batch=True), dict[str, Completion]()
        if batch.output_file_id:
            output = await self._retried(
                job, lambda: self._litellm.afile_content(file_id=batch.output_file_id, **self._provider_arguments(job))
            )
            for line in output.content.splitlines():
                try:
                    result = _Line.model_validate_json(line)
                except ValidationError:
                    continue  # a failed one, or one that cannot be read: it is sent directly
                key, response = result.custom_id, result.response
                if key in job.requests and response.status_code == 200:
                    completions[key] = completion_of(response.body, job.requests[key], prices)
        missing = len(job.requests) - len(completions)
        rest = f", {missing:,} calls sent directly{_problem(batch)}" if missing else ""
        self._on_note(f"batch job {job.id} {batch.status} after {_age(job)}: {len(completions):,} replies{rest}")
        return completions

    async def _retried(self, job: Job, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it succeeds; raises lasting errors, and ServiceError where the service stays away."""
        tries, give_up = 0, 0.0
        while True:
            try:
                result = await call()
            except OpenAIError as error:
                if not is_transient(error):
                    raise
                tries += 1
                self._faults.report(error, job.model)
                seconds = retry_delay(error) or min(MAX_POLL_S, 2.0**tries)
                give_up = give_up or time.monotonic() + self._settings.patience_s
                if time.monotonic() + seconds > give_up:
                    raise self._faults.gave_up(error, job.model) from None
                await asyncio.sleep(seconds)
            else:
                self._faults.recovered()
                return result

    def _provider_arguments(self, job: Job) -> dict[str, Any]:
        where = endpoint(job.model, self._settings)
        return {"custom_llm_provider": batch_provider(job.model), "max_retries": 0, **where}


class _Function(BaseModel):
    name: str
    arguments: str


class _Call(BaseModel):
    function: _Function


class _Message(BaseModel):
    content: str | None = None
    tool_calls: list[_Call] | None = None
    refusal: str | None = None

    @property
    def provider_specific_fields(self) -> dict[str, str | None]:
        """Where litellm keeps a refusal."""
        return {"refusal": self.refusal}


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class _Body(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: Annotated[_Usage, BeforeValidator(lambda usage: usage or {})] = _Usage()
    model: str = ""
    system_fingerprint: str | None = None


class _Response(BaseModel):
    status_code: int
    body: _Body


class _Line(BaseModel):
    """The fields of a line of a job's output that are read; the line of a failed request is invalid."""

    custom_id: str
    response: _Response


def _line(request: Request) -> bytes:
    line = {"custom_id": request.digest, "method": "POST", "url": ENDPOINT, "body": provider_body(request)}
    return json.dumps(line).encode() + b"\n"


def _chunks(gathered: dict[str, Request]) -> Iterator[tuple[str, dict[str, Request]]]:
    """The requests by model, no more of them together than fit into a job."""
    for model in dict.fromkeys(request.model for request in gathered.values()):
        chunk, size = dict[str, Request](), 0
        for key, request in gathered.items():
            if request.model != model:
                continue
            length = len(_line(request))
            if chunk and (len(chunk) == MAX_REQUESTS or size + length > MAX_BYTES):
                yield model, chunk
                chunk, size = {}, 0
            chunk[key] = request
            size += length
        yield model, chunk


def _counts(batch: Any) -> str:
    counts = batch.request_counts
    if counts is None or not counts.total:
        return str(batch.status)
    return f"{counts.completed:,} of {counts.total:,} done" + (f", {counts.failed:,} failed" * bool(counts.failed))


def _problem(batch: Any) -> str:
    """The provider's first error about a whole job that failed."""
    errors = batch.errors.data if batch.errors is not None else None
    return f": {errors[0].message}"[:300] if errors else ""


def _age(job: Job) -> str:
    minutes = int(max(0.0, time.time() - job.started) // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
