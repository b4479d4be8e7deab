"""Ask in batches: the calls of a stage go as one job, cost half, and come back within a day.

Who calls notices nothing but the time. A job is noted before it is sent and carries our name for it, so that a worker
that comes back waits for it instead of sending it again. What a job does not answer is asked directly.
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
from engine.service.faults import Trouble, locks_out, passes, pause
from engine.service.jobs import Job
from engine.service.ledger import Ledger, Reply
from engine.service.models import batch_provider, endpoint, litellm, price, request_params
from engine.service.response_adapter import read, sendable
from engine.service.tokens import most_cost
from engine.settings.schema import Service

T = TypeVar("T")

QUIET_S = 1.0
"""Calls are gathered until none has come for so long."""

FEWEST = 10
"""Fewer calls are asked directly: they would wait as long, and save next to nothing."""

MOST_REQUESTS, MOST_BYTES = 50_000, 190_000_000
"""What a job may hold: OpenAI's limits are 50,000 requests and 200 MB."""

FIRST_POLL_S, SLOWER, LONGEST_POLL_S = 15.0, 1.5, 300.0
TELL_EVERY_S = 600.0
PAGES = 20
"""How far back a job is looked for among a provider's latest, a hundred to a page."""

ENDED = ("completed", "failed", "expired", "cancelled")
ENDPOINT = "/v1/chat/completions"
TAG = "llamaduo"
"""Under which a job carries our name for it."""


class Batches:
    """The jobs of a client: gathers calls, sends them, waits for what they bring, over as many workers as it takes."""

    def __init__(
        self,
        settings: Service,
        ledger: Ledger,
        budget: Budget,
        trouble: Trouble,
        *,
        gate: asyncio.Event | None,
        abroad: Callable[[], AbstractContextManager[None]],
        on_reply: Callable[[Reply], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._settings, self._ledger, self._budget, self._trouble = settings, ledger, budget, trouble
        self._gate, self._abroad, self._on_reply, self._on_note = gate, abroad, on_reply, on_note
        self._answers: dict[str, asyncio.Future[Reply | None]] = {}
        self._gathered: dict[str, dict[str, Any]] = {}
        self._last = 0.0
        self._gathering: asyncio.Task[None] | None = None
        self._adopted = ledger.jobs.open()
        self._open: list[Job] = []
        self._tasks: set[asyncio.Task[None]] = set()
        for job in self._adopted:
            budget.hold(job.most, len(job.requests))

    async def reply(self, key: str, request: dict[str, Any]) -> Reply | None:
        """The answer that a job brings; None where the request is to be asked directly.

        Raises ServiceError where the service cannot be used.
        """
        self._adopt()
        if (known := await self._ledger.reply(key)) is not None:  # by a job that came home just now
            return known
        answer: asyncio.Future[Reply | None]
        answer = self._answers[key] = asyncio.get_running_loop().create_future()
        try:
            if not any(key in job.requests for job in self._open):
                if not self._settings.batch or batch_provider(request["model"]) is None:
                    return None
                self._gather(key, request)
            return await answer
        finally:
            del self._answers[key]
            self._gathered.pop(key, None)

    async def close(self) -> None:
        """Wait for no job any more; they go on at the provider."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for job in self._open:
            if job.id is not None:
                self._on_note(f"batch job {job.id} goes on at the provider; resume collects what it brings")

    def _adopt(self) -> None:
        for job in self._adopted:
            self._start(self._carry(job, adopted=True))
            self._open.append(job)
        self._adopted = []

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _gather(self, key: str, request: dict[str, Any]) -> None:
        self._gathered[key] = request
        self._last = time.monotonic()
        if self._gathering is None or self._gathering.done():
            self._gathering = self._start(self._send_gathered())

    async def _send_gathered(self) -> None:
        while (left := self._last + QUIET_S - time.monotonic()) > 0:  # noqa: ASYNC110 - time passes, no event is set
            await asyncio.sleep(left)
        gathered, self._gathered = self._gathered, {}
        try:
            loads = list(_loads(gathered))
        except Exception as error:  # noqa: BLE001 - it is raised where the answers are waited for
            self._fail(gathered, error)
            return
        for model, requests in loads:
            if len(requests) < FEWEST:
                self._resolve(requests, {})
                continue
            prices = price(model, self._settings, batch=True)
            job = Job(model, requests, sum(most_cost(request, prices) for request in requests.values()))
            self._open.append(job)
            self._start(self._carry(job))

    async def _carry(self, job: Job, adopted: bool = False) -> None:
        """See a job through; who waits for its answers gets them, or what it failed of."""
        replies: dict[str, Reply] = {}
        try:
            if not adopted:
                await self._budget.reserve(job.most, len(job.requests))
            try:
                replies = await self._bring(job, adopted)
            finally:
                cost = sum(reply.cost_usd for reply in replies.values())
                await self._budget.settle(job.most, cost, len(replies), len(job.requests))
        except Exception as error:  # noqa: BLE001 - it is raised where the answers are waited for
            self._open.remove(job)
            self._fail(job.requests, error)
        else:
            self._open.remove(job)
            self._resolve(job.requests, replies)

    def _resolve(self, requests: dict[str, dict[str, Any]], replies: dict[str, Reply]) -> None:
        for key in requests:
            answer = self._answers.get(key)
            if answer is not None and not answer.done():
                answer.set_result(replies.get(key))

    def _fail(self, requests: dict[str, dict[str, Any]], error: Exception) -> None:
        for key in requests.keys() & self._answers.keys():
            if not self._answers[key].done():
                self._answers[key].set_exception(error)

    async def _bring(self, job: Job, adopted: bool) -> dict[str, Reply]:
        """The answers of a job, kept in the ledger."""
        if not adopted:
            if self._gate is not None:
                await self._gate.wait()
            await self._ledger.jobs.note(job)
        try:
            if job.id is None:
                with self._abroad():
                    job.id = await self._send(job, look_first=adopted)
                    await self._ledger.jobs.sent(job)
                self._on_note(f"batch job {job.id}: {len(job.requests):,} calls are sent, which takes up to 24 h")
            else:
                self._on_note(f"batch job {job.id}: waiting for its {len(job.requests):,} calls again")
            replies = await self._collect(job, await self._end_of(job))
        except OpenAIError as error:
            if locks_out(error):
                raise self._trouble.unusable(error, job.model) from None
            if job.id is not None and self._settings.batch:
                raise ServiceError(
                    f"batch job {job.id} cannot be collected: {self._trouble.say(error)}",
                    "resume with the key that it was sent with, or with batch = false, which pays for its calls again",
                ) from None
            self._on_note(f"batch job refused, its calls are asked directly: {self._trouble.say(error)}")
            replies = {}
        await self._ledger.keep_job(job, replies)
        for reply in replies.values():
            self._on_reply(reply)
        return replies

    async def _send(self, job: Job, look_first: bool) -> str:
        """The provider's id for a job; one that an earlier try has brought there is found, not sent again."""
        provider = self._provider(job)
        lines = [_line(key, request) for key, request in job.requests.items()]
        looks = look_first

        async def send() -> str:
            nonlocal looks
            found, looks = await self._find(job) if looks else None, True
            if found is not None:
                return found
            file = await litellm.acreate_file(file=(f"{job.name}.jsonl", b"".join(lines)), purpose="batch", **provider)
            batch = await litellm.acreate_batch(
                completion_window="24h",
                endpoint=ENDPOINT,
                input_file_id=file.id,
                metadata={TAG: job.name},
                **provider,
            )
            return str(batch.id)

        return await self._patiently(job, send)

    async def _find(self, job: Job) -> str | None:
        """The id of a job among the provider's latest."""
        after = None
        for _ in range(PAGES):
            page = await litellm.alist_batches(after=after, limit=100, **self._provider(job))
            for batch in page.data:
                if (batch.metadata or {}).get(TAG) == job.name:
                    return str(batch.id)
            if not page.data or not page.has_more or page.data[-1].created_at < job.began:
                return None
            after = page.data[-1].id
        return None

    async def _end_of(self, job: Job) -> Any:
        """The provider's record of a job once it has ended, well or not; how far it is, is told now and then."""
        wait, told = FIRST_POLL_S, time.monotonic()
        while True:
            batch = await self._patiently(job, lambda: litellm.aretrieve_batch(batch_id=job.id, **self._provider(job)))
            if batch.status in ENDED:
                return batch
            if time.monotonic() - told >= TELL_EVERY_S:
                told = time.monotonic()
                self._on_note(f"batch job {job.id}: {_counts(batch)}, sent {_age(job)} ago")
            await asyncio.sleep(wait)
            wait = min(LONGEST_POLL_S, wait * SLOWER)

    async def _collect(self, job: Job, batch: Any) -> dict[str, Reply]:
        """The answers in a job's output, by key; an expired job has some."""
        prices, replies = price(job.model, self._settings, batch=True), dict[str, Reply]()
        if batch.output_file_id:
            output = await self._patiently(
                job, lambda: litellm.afile_content(file_id=batch.output_file_id, **self._provider(job))
            )
            for line in output.content.splitlines():
                try:
                    result = _Line.model_validate_json(line)
                except ValidationError:
                    continue  # a failed one, or one that cannot be read: it is asked directly
                if result.custom_id in job.requests and result.response.status_code == 200:
                    replies[result.custom_id] = read(result.response.body, job.requests[result.custom_id], prices)
        missing = len(job.requests) - len(replies)
        rest = f", {missing:,} are asked directly{_problem(batch)}" if missing else ""
        self._on_note(f"batch job {job.id} {batch.status} after {_age(job)}: {len(replies):,} answers{rest}")
        return replies

    async def _patiently(self, job: Job, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until it is answered; raises what does not pass, and ServiceError where the service stays away."""
        tries, give_up = 0, 0.0
        while True:
            try:
                answer = await ask()
            except OpenAIError as error:
                if not passes(error):
                    raise
                tries += 1
                self._trouble.tell(error, job.model)
                seconds = pause(error) or min(LONGEST_POLL_S, 2.0**tries)
                give_up = give_up or time.monotonic() + self._settings.patience_s
                if time.monotonic() + seconds > give_up:
                    raise self._trouble.gave_up(error, job.model) from None
                await asyncio.sleep(seconds)
            else:
                self._trouble.over()
                return answer

    def _provider(self, job: Job) -> dict[str, Any]:
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


class _Body(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: Annotated[_Usage, BeforeValidator(lambda usage: usage or {})] = _Usage()


class _Response(BaseModel):
    status_code: int
    body: _Body


class _Line(BaseModel):
    """A line of a job's output, as far as it is read; one of a failed request is none."""

    custom_id: str
    response: _Response


def _line(key: str, request: dict[str, Any]) -> bytes:
    name, params = request_params(request)
    body = {"model": name, "messages": sendable(request["messages"]), **params}
    return json.dumps({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}).encode() + b"\n"


def _loads(gathered: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """The requests by model, no more of them together than a job may hold."""
    for model in dict.fromkeys(request["model"] for request in gathered.values()):
        load, size = dict[str, dict[str, Any]](), 0
        for key, request in gathered.items():
            if request["model"] != model:
                continue
            length = len(_line(key, request))
            if load and (len(load) == MOST_REQUESTS or size + length > MOST_BYTES):
                yield model, load
                load, size = {}, 0
            load[key] = request
            size += length
        yield model, load


def _counts(batch: Any) -> str:
    counts = batch.request_counts
    if counts is None or not counts.total:
        return str(batch.status)
    return f"{counts.completed:,} of {counts.total:,} answered" + (f", {counts.failed:,} failed" * bool(counts.failed))


def _problem(batch: Any) -> str:
    """What the provider says of a whole job that failed."""
    said = batch.errors.data if batch.errors is not None else None
    return f": {said[0].message}"[:300] if said else ""


def _age(job: Job) -> str:
    minutes = int(max(0.0, time.time() - job.began) // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
