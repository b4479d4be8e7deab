"""Batch jobs, against a provider on loopback that does with them what a test wants."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from batching import Line, Provider, answer, completed, providing
from calling import until

from engine.protocol.errors import ServiceError
from engine.service import batch as module
from engine.service import batch_api, batch_queue
from engine.service.budget import Shortage
from engine.service.callers import Requests
from engine.service.client import Client
from engine.service.completion import Completion
from engine.service.full_price import DirectCalls, FullPrice
from engine.service.ledger import Ledger
from engine.settings.schema import Service

KEY = "sk-planted-0123456789abcdef"
MODEL = "openai/scripted"
PRICES = {"input_price": 10.0, "output_price": 20.0}
COST = (20 * 10e-6 + 50 * 20e-6) / 2
"""USD of an answer in a batch: half of what its tokens cost."""

Told = list[str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_API_KEY", KEY)
    monkeypatch.setattr(module, "QUIET_S", 0.1)
    monkeypatch.setattr(batch_api, "FIRST_POLL_S", 0.02)
    monkeypatch.setattr(batch_api, "MAX_POLL_S", 0.05)


class Person:
    """Is asked whether calls may be sent directly, and answers in this order; without an answer, never."""

    def __init__(self, *answers: bool) -> None:
        self.answers, self.asked = list(answers), list[FullPrice]()
        self.ready = asyncio.Event()
        self.ready.set()

    async def __call__(self, question: FullPrice) -> bool:
        self.asked.append(question)
        if not self.answers:
            await until(lambda: question.moot)
            return False
        await self.ready.wait()
        return self.answers.pop(0)


@asynccontextmanager
async def living(provider: Provider, folder: Path, **settings: Any) -> AsyncIterator[tuple[Client, Told]]:
    """A client for one life of a worker, with all that it tells, warnings after a "! "."""
    told: Told = []
    ours = {name: settings.pop(name) for name in ("gate", "on_used_up", "ask_full_price") if name in settings}
    values = {"api_key_env": "SCRIPTED_API_KEY", "api_base": provider.base, "batch": True, **PRICES, **settings}
    ledger = Ledger(folder / "ledger.sqlite")

    def warn(message: str) -> None:
        told.append(f"! {message}")

    client = Client(Service(model=MODEL, **values), ledger, on_note=told.append, on_trouble=warn, **ours)
    try:
        yield client, told
    finally:
        await client.close()
        ledger.close()


async def ask(client: Client, count: int = 12, max_tokens: int = 60) -> list[Completion]:
    calls = [
        client.complete(
            [{"role": "user", "content": f"prompt {n}"}], model=MODEL, max_tokens=max_tokens, temperature=0.0
        )
        for n in range(count)
    ]
    return await asyncio.gather(*calls)


def sources(replies: list[Completion]) -> list[str]:
    """How the calls were made: batched or direct."""
    return [reply.text.split(":")[0] for reply in replies]


def holding() -> tuple[asyncio.Event, Any]:
    """A job that ends once the event is set."""
    done = asyncio.Event()
    return done, lambda requests: ("completed", [answer(r) for r in requests]) if done.is_set() else None


async def stop(calls: asyncio.Task[Any]) -> None:
    calls.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls


async def test_the_calls_of_a_stage_are_one_job_at_half_the_price(tmp_path: Path) -> None:
    async with providing() as provider, living(provider, tmp_path) as (client, told):
        replies = await ask(client)
        again = await ask(client)

    assert [reply.text for reply in replies] == [f"batched: prompt {n}" for n in range(12)]
    assert [reply.cost_usd for reply in replies] == [pytest.approx(COST)] * 12
    assert (client.usage.calls, client.usage.cached_calls) == (12, 12) and all(reply.cached for reply in again)
    assert client.usage.cost_usd == pytest.approx(12 * COST) == pytest.approx(client._budget._spent)
    (batch,) = provider.batches.values()
    (line, *_) = provider.requests(batch)
    assert (line["method"], line["url"], len(line["custom_id"])) == ("POST", "/v1/chat/completions", 64)
    assert line["body"] == {
        "model": "scripted",
        "messages": [{"role": "user", "content": "prompt 0"}],
        "temperature": 0.0,
        "max_tokens": 60,
    }
    assert provider.direct == []
    assert "12 calls sent" in told[0] and "completed after 0 min: 12 replies" in told[1]


async def test_calls_of_tools_come_back_as_from_a_direct_call(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    message = {"role": "user", "content": "weather?"}
    async with providing() as provider, living(provider, tmp_path) as (client, _):
        replies = await asyncio.gather(
            *(
                client.complete([message], model=MODEL, max_tokens=60, temperature=None, tools=[tool], repeat=n)  # type: ignore[list-item]
                for n in range(10)
            )
        )

    assert {reply.text for reply in replies} == {'{"name": "look", "arguments": {"at": "Oslo"}}'}
    (batch,) = provider.batches.values()
    assert provider.requests(batch)[0]["body"]["tools"] == [tool]


async def test_a_few_calls_are_asked_directly(tmp_path: Path) -> None:
    async with providing() as provider, living(provider, tmp_path) as (client, _):
        replies = await ask(client, 3)

    assert [reply.text for reply in replies] == [f"direct: prompt {n}" for n in range(3)]
    assert replies[0].cost_usd == pytest.approx(2 * COST)
    assert provider.batches == {}


def some_fail(requests: list[Line]) -> tuple[str, list[Line]]:
    """Every answer but four: missing, failed, without a choice, of another request."""
    lines = [answer(request) for request in requests]
    lines[1]["response"]["status_code"] = 400
    lines[2]["response"]["body"]["choices"] = []
    lines[3]["custom_id"] = "../x"
    return "completed", lines[1:]


def expires(requests: list[Line]) -> tuple[str, list[Line]]:
    return "expired", [answer(request) for request in requests[4:]]


@pytest.mark.parametrize("finish", [some_fail, expires])
async def test_the_few_calls_that_a_job_leaves_open_are_sent_directly(finish: Any, tmp_path: Path) -> None:
    async with providing(finish=finish) as provider, living(provider, tmp_path) as (client, told):
        replies = await ask(client)

    assert sources(replies) == ["direct"] * 4 + ["batched"] * 8
    assert client.usage.cost_usd == pytest.approx((8 + 4 * 2) * COST) == pytest.approx(client._budget._spent)
    assert len(provider.batches) == 1
    assert told[-1].startswith("! batch job batch-0")
    assert f"8 replies for ${8 * COST:.4f}" in told[-1]
    assert f"4 calls sent directly, at the full price: about ${4 * 2 * COST:.4f}" in told[-1]


def failing(status: int, message: str, count: int = 12) -> Any:
    """In the first job the first requests fail."""
    first = [True]

    def finish(requests: list[Line]) -> tuple[str, list[Line]]:
        lines = [answer(request) for request in requests]
        if first and first.pop():
            for line in lines[:count]:
                line["response"] = {"status_code": status, "body": {"error": {"message": message}}}
        return "completed", lines

    return finish


async def test_many_calls_that_fail_for_a_passing_reason_go_into_another_job(tmp_path: Path) -> None:
    finish = failing(429, "Rate limit reached")
    async with providing(finish=finish) as provider, living(provider, tmp_path) as (client, told):
        replies = await ask(client, 24)

    assert sources(replies) == ["batched"] * 24 and provider.direct == []
    assert provider.sizes() == [24, 12] and client.usage.cost_usd == pytest.approx(24 * COST)
    assert any("12 open calls go into another job; first error: Rate limit reached" in line for line in told)


async def test_requests_that_the_provider_refuses_are_refused_by_a_direct_call(tmp_path: Path) -> None:
    finish = failing(400, "content filter", 10)
    async with providing(finish=finish) as provider, living(provider, tmp_path) as (client, told):
        replies = await ask(client, 24)

    assert sources(replies) == ["direct"] * 10 + ["batched"] * 14 and provider.sizes() == [24]
    assert told[-1].startswith("! ") and "first error: content filter" in told[-1]


async def test_a_job_of_which_most_is_refused_is_asked_about(tmp_path: Path) -> None:
    person = Person(True)
    finish = failing(400, "unknown parameter", 20)
    async with providing(finish=finish) as provider, living(provider, tmp_path, ask_full_price=person) as (client, _):
        replies = await ask(client, 24)

    assert sources(replies) == ["direct"] * 20 + ["batched"] * 4
    assert len(person.asked) == 1 and "first error: unknown parameter" in person.asked[0].reason


def half_expires(requests: list[Line]) -> tuple[str, list[Line]]:
    return ("expired", [answer(r) for r in requests[12:]]) if len(requests) > 12 else completed(requests)


async def test_many_calls_of_an_expired_job_go_into_another_one(tmp_path: Path) -> None:
    async with providing(finish=half_expires) as provider, living(provider, tmp_path) as (client, _):
        replies = await ask(client, 24)

    assert sources(replies) == ["batched"] * 24 and provider.sizes() == [24, 12] and provider.direct == []


async def test_calls_that_several_jobs_leave_open_are_asked_about(tmp_path: Path) -> None:
    person = Person(True)
    one = lambda requests: ("expired", [answer(requests[-1])])  # noqa: E731
    async with providing(finish=one) as provider, living(provider, tmp_path, ask_full_price=person) as (client, _):
        replies = await ask(client, 24)

    assert provider.sizes() == [24, 23, 22] and sources(replies) == ["direct"] * 21 + ["batched"] * 3
    (question,) = person.asked
    assert question.reason.startswith(f"Send 21 calls directly (about ${21 * 2 * COST:.4f})?")
    assert "3 jobs have left these calls open" in question.reason


@pytest.mark.parametrize("status", ["expired", "completed", "cancelled", "failed"])
async def test_a_job_without_results_is_asked_about_before_its_calls_cost_twice(status: str, tmp_path: Path) -> None:
    person = Person(False, True)
    async with (
        providing(finish=lambda _: (status, [])) as provider,
        living(provider, tmp_path, ask_full_price=person) as (client, told),
    ):
        replies = await ask(client)

    assert sources(replies) == ["direct"] * 12
    assert provider.sizes() == [12, 12], "a rejection sends another job"
    assert len(person.asked) == 2 and person.asked[0].name != person.asked[1].name
    most = (10 * (8 + 16) + 2 * (9 + 16)) * 10e-6 + 12 * 60 * 20e-6
    assert person.asked[0].cost_usd == pytest.approx(most)
    assert person.asked[0].reason.startswith(f"Send 12 calls directly (at most ${most:.4f})? batch job")
    assert person.asked[0].by_hand is (status == "cancelled")
    assert told[-1].startswith("! ") and f"at the full price: at most ${most:.4f}" in told[-1]
    assert tables(tmp_path) == (0, 0, 12)


async def test_a_cancelled_job_keeps_its_results_and_the_rest_waits_for_a_person(tmp_path: Path) -> None:
    cancelled = lambda requests: ("cancelled", [answer(r) for r in requests[:9]])  # noqa: E731
    person = Person()
    async with providing(finish=cancelled) as provider:
        async with living(provider, tmp_path, ask_full_price=person) as (client, _):
            calls = asyncio.create_task(ask(client))
            await until(lambda: len(person.asked) == 1)
            (question,) = person.asked
            assert question.reason.startswith(f"Send 3 calls directly (about ${3 * 2 * COST:.4f})?")
            assert question.cost_usd == pytest.approx(3 * 2 * COST) and "cancelled" in question.reason
            assert tables(tmp_path) == (0, 0, 9) and provider.direct == [] and client._budget._in_flight == 0
            await stop(calls)
        async with living(provider, tmp_path) as (client, _):
            assert len(await ask(client)) == 12
            assert client.usage.calls == 12 and len(provider.direct) == 3, "three are too few for a job"


async def test_without_a_person_to_ask_a_cancelled_job_ends_the_work(tmp_path: Path) -> None:
    async with (
        providing(finish=lambda _: ("cancelled", [])) as provider,
        living(provider, tmp_path) as (client, _),
    ):
        with pytest.raises(ServiceError, match="Send 12 calls directly") as failed:
            await ask(client)
    assert "batch = false" in failed.value.hint and provider.direct == []


async def test_jobs_that_are_cancelled_together_are_one_more_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_queue, "MAX_REQUESTS", 10)
    hold, held = DirectCalls.ask, list[Requests]()

    async def holding(direct: DirectCalls, requests: Requests, reason: str, *, by_hand: bool) -> None:
        held.append(requests)
        await hold(direct, requests, reason, by_hand=by_hand)

    monkeypatch.setattr(DirectCalls, "ask", holding)
    cancel = asyncio.Event()

    def finish(_: list[Line]) -> tuple[str, list[Line]] | None:
        return ("cancelled", []) if cancel.is_set() else None

    person = Person(True, True)
    person.ready.clear()
    async with (
        providing(finish=finish) as provider,
        living(provider, tmp_path, ask_full_price=person) as (client, told),
    ):
        calls = asyncio.create_task(ask(client, 40))
        await until(lambda: len(provider.batches) == 4)
        cancel.set()
        await until(lambda: sum(map(len, held)) == 40)
        person.ready.set()
        assert sources(await calls) == ["direct"] * 40
    assert [question.reason.split()[1] for question in person.asked] == ["10", "30"]
    assert "(and 2 more)" in person.asked[1].reason and told[-1].startswith("! ")


def no_batches(status: int, message: str) -> Callable[[Any], web.Response]:
    return lambda _: web.json_response({"error": {"message": message}}, status=status)


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "Not Found"), (405, "Method Not Allowed"), (400, "The model 'm' is not supported by the Batch API")],
)
async def test_a_service_without_batches_is_called_directly(status: int, message: str, tmp_path: Path) -> None:
    async with providing(refusal=no_batches(status, message)) as provider, living(provider, tmp_path) as (client, told):
        replies = await ask(client)

    assert sources(replies) == ["direct"] * 12 and tables(tmp_path) == (0, 0, 12)
    (line,) = [line for line in told if "takes no batch jobs" in line]
    assert line.startswith("! ") and "12 calls sent directly, at the full price: at most $" in line


async def test_a_model_that_its_job_says_has_no_batches_is_called_directly(tmp_path: Path) -> None:
    async with providing(finish=lambda _: None) as provider, living(provider, tmp_path) as (client, told):
        calls = asyncio.create_task(ask(client))
        await provider.created.wait()
        provider.fail(provider.batches["batch-0"], {"code": "invalid_model", "message": "m does not support batches"})
        assert sources(await calls) == ["direct"] * 12
    assert any(line.startswith("! ") and "(invalid_model)" in line for line in told)


async def test_jobs_get_smaller_where_the_provider_finds_them_too_large(tmp_path: Path) -> None:
    async with providing() as provider, living(provider, tmp_path) as (client, told):

        def refusal(request: web.Request) -> web.Response | None:
            large = request.path.endswith("/files") and (request.content_length or 0) > 15 * 300
            return web.Response(status=413, text="Payload Too Large") if large else None

        provider.refusal = refusal
        replies = await ask(client, 40)

        assert sources(replies) == ["batched"] * 40 and max(provider.sizes()) < 40
        provider.refusal = no_batches(413, "Payload Too Large")
        assert sources(await ask(client, 60))[40:] == ["direct"] * 20
    assert any(line.startswith("! openai/scripted takes no batch job of") for line in told)


@pytest.mark.parametrize(
    "message",
    [
        "You have insufficient permissions for this operation. Missing scopes: api.batch.write.",
        "Forbidden",
    ],
)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_may_not_use_batches_is_asked_about(status: int, message: str, tmp_path: Path) -> None:
    person = Person(True)
    async with (
        providing(refusal=no_batches(status, message)) as provider,
        living(provider, tmp_path, ask_full_price=person) as (client, told),
    ):
        assert sources(await ask(client)) == ["direct"] * 12
    assert len(person.asked) == 1 and "api.batch.write" in person.asked[0].reason
    assert "12 calls" in person.asked[0].reason and not person.asked[0].by_hand
    assert told[-1].startswith("! ") and "api.files.write" in told[-1]


async def test_a_permission_that_is_given_meanwhile_settles_the_question(tmp_path: Path) -> None:
    person = Person()
    async with (
        providing(refusal=no_batches(403, "Missing scopes: api.batch.write")) as provider,
        living(provider, tmp_path, ask_full_price=person) as (client, _),
    ):
        calls = asyncio.create_task(ask(client))
        await until(lambda: len(person.asked) == 1)
        provider.refusal = lambda _: None
        assert sources(await calls) == ["batched"] * 12
        assert person.asked[0].moot and len(person.asked) == 1


async def test_a_key_that_is_refused_everywhere_ends_the_work_and_any_other_is_tried_once(tmp_path: Path) -> None:
    refuse = no_batches(401, f"Unauthorized: {KEY}")
    person = Person(True)
    async with providing(refusal=refuse, direct_refusal=lambda: refuse(None)) as provider:
        async with living(provider, tmp_path, ask_full_price=person) as (client, _):
            with pytest.raises(ServiceError) as failed:
                await ask(client)
        assert "SCRIPTED_API_KEY" in failed.value.hint and KEY not in failed.value.message
        assert provider.direct == [] and person.asked == []

        provider.direct_refusal = lambda: None
        async with living(provider, tmp_path, ask_full_price=person) as (client, _):
            assert sources(await ask(client)) == ["direct"] * 12
    assert "12 calls" in person.asked[0].reason and KEY not in person.asked[0].reason
    assert len(provider.direct) == 13, "one harmless call has shown that the key is valid"


AT_CREATION = [
    (400, "Enqueued token limit reached for m. Please try again once some in_progress batches have been completed."),
    (429, "The number of enqueued tokens has surpassed the configured limit of 30K for the deployment 'm'."),
    (429, "Batch rate limit exceeded: 40 requests but only 12 left"),
]


@pytest.mark.parametrize("told_by", ["validation", *AT_CREATION])
async def test_a_full_queue_gets_smaller_jobs_and_is_waited_for(told_by: Any, tmp_path: Path) -> None:
    async with providing() as provider, living(provider, tmp_path) as (client, told):

        def refusal(request: web.Request) -> web.StreamResponse | None:
            large = request.path.endswith("/files") and (request.content_length or 0) > 13 * 300
            return no_batches(*told_by)(request) if large else None

        if told_by == "validation":
            provider.room = 12
        else:
            provider.refusal = refusal
        replies = await ask(client, 40)

        assert sources(replies) == ["batched"] * 40 and provider.direct == []
        assert sum(provider.sizes("completed")) == 40 and max(provider.sizes("completed")) <= 13
        assert client._budget._in_flight == 0 and client.usage.cost_usd == pytest.approx(40 * COST)
        assert any("batch queue has no room" in line for line in told)


async def test_a_queue_that_stays_full_is_asked_about_and_tried_on(tmp_path: Path) -> None:
    person = Person()
    async with (
        providing(room=0) as provider,
        living(provider, tmp_path, ask_full_price=person, patience_s=0.2) as (client, _),
    ):
        calls = asyncio.create_task(ask(client))
        await until(lambda: len(person.asked) == 1)
        tried = len(provider.batches)
        await until(lambda: len(provider.batches) > tried + 1)
        assert len(person.asked) == 1 and "batch queue has no room" in person.asked[0].reason
        assert provider.direct == [] and not person.asked[0].moot
        provider.room = None
        assert sources(await calls) == ["batched"] * 12
        await until(lambda: person.asked[0].moot)


async def test_a_person_may_pay_instead_of_waiting_for_the_queue_or_wait_on(tmp_path: Path) -> None:
    person = Person(False, True)
    async with (
        providing(room=0) as provider,
        living(provider, tmp_path, ask_full_price=person, patience_s=0.1) as (client, told),
    ):
        assert sources(await ask(client)) == ["direct"] * 12
    assert len(person.asked) == 2 and tables(tmp_path) == (0, 0, 12)
    assert told[-1].startswith("! ") and "12 calls sent directly, at the full price: at most $" in told[-1]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_throttled_job_is_waited_for_and_then_asked_about(status: int, tmp_path: Path) -> None:
    person = Person(True)
    async with (
        providing(refusal=no_batches(status, "Slow down")) as provider,
        living(provider, tmp_path, ask_full_price=person, patience_s=0.3) as (client, _),
    ):
        calls = asyncio.create_task(ask(client))
        await asyncio.sleep(0.2)
        assert person.asked == []
        assert sources(await calls) == ["direct"] * 12
    assert len(person.asked) == 1 and "takes no batch job for now" in person.asked[0].reason


@pytest.mark.parametrize("at_creation", [True, False])
async def test_an_empty_account_ends_the_work(at_creation: bool, tmp_path: Path) -> None:
    empty = {"code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached."}
    person = Person(True)
    async with (
        providing(finish=lambda _: None) as provider,
        living(provider, tmp_path, ask_full_price=person) as (client, _),
    ):
        if at_creation:
            provider.refusal = lambda _: web.json_response({"error": empty}, status=400)
        calls = asyncio.create_task(ask(client))
        if not at_creation:
            await provider.created.wait()
            provider.fail(provider.batches["batch-0"], empty)
        with pytest.raises(ServiceError, match="hard limit") as failed:
            await calls
    assert "top up" in failed.value.hint and provider.direct == [] and person.asked == []


async def test_errors_inside_a_reply_are_not_booked(tmp_path: Path) -> None:
    def finish(requests: list[Line]) -> tuple[str, list[Line]]:
        lines = [answer(request) for request in requests]
        if len(requests) == 24:
            for line in lines[:6]:
                line["response"]["body"] = {"error": {"code": 429, "message": "upstream"}}
            for line in lines[6:12]:
                line["response"]["body"]["error"] = {"message": "upstream"}
            for line in lines[12:18]:
                line["error"] = {"code": "batch_expired", "message": "too late"}
        return "completed", lines

    async with providing(finish=finish) as provider, living(provider, tmp_path) as (client, _):
        replies = await ask(client, 24)

    assert sources(replies) == ["batched"] * 24 and provider.sizes() == [24, 18]
    assert client.usage.calls == 24 and client.usage.cost_usd == pytest.approx(24 * COST)


async def test_a_job_that_is_overdue_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_api, "OVERDUE_S", -1.0)
    done, finish = holding()
    async with providing(finish=finish) as provider, living(provider, tmp_path) as (client, told):
        calls = asyncio.create_task(ask(client))
        await until(lambda: any("cancel it with the provider" in line for line in told))
        done.set()
        await calls


async def test_an_outage_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_api, "MAX_POLL_S", 0.01)
    answers = [web.Response(status=503) for _ in range(6)]
    refusal = lambda _: answers.pop() if answers else None  # noqa: E731
    async with providing(refusal=refusal) as provider, living(provider, tmp_path) as (client, told):
        replies = await ask(client)

    assert [reply.text.split(":")[0] for reply in replies] == ["batched"] * 12
    assert len(provider.batches) == 1 and "returned an error, retrying" in told[0]


async def test_after_a_stop_the_next_worker_waits_for_the_same_job(tmp_path: Path) -> None:
    done, finish = holding()
    async with providing(finish=finish) as provider:
        async with living(provider, tmp_path) as (client, told):
            calls = asyncio.create_task(ask(client))
            await provider.created.wait()
            await client.drain()
            await stop(calls)
        assert "is still running at the provider" in told[-1]
        done.set()
        async with living(provider, tmp_path, batch=False) as (client, told):  # wanted or not: it is paid for
            assert client._budget._in_flight == 12
            replies = await ask(client)

        assert "waiting for its 12 calls, sent earlier" in told[0]
        assert [reply.text.split(":")[0] for reply in replies] == ["batched"] * 12
        assert (len(provider.batches), provider.direct, client._budget._in_flight) == (1, [], 0)
        assert tables(tmp_path) == (0, 0, 12)


async def test_a_job_whose_sending_was_cut_off_is_found_at_the_provider(tmp_path: Path) -> None:
    done, finish = holding()
    async with providing(finish=finish) as provider:
        async with living(provider, tmp_path) as (client, _):
            calls = asyncio.create_task(ask(client))
            await provider.created.wait()
            await client.drain()
            await stop(calls)
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database, database:
            database.execute("UPDATE jobs SET provider_id = NULL")  # as if killed before the answer came
        done.set()
        async with living(provider, tmp_path) as (client, _):
            await ask(client)
        assert len(provider.batches) == 1

        (other := tmp_path / "other").mkdir()
        done.clear()
        provider.created.clear()
        async with living(provider, other) as (client, _):
            calls = asyncio.create_task(ask(client))
            await provider.created.wait()
            await client.drain()
            await stop(calls)
        with closing(sqlite3.connect(other / "ledger.sqlite")) as database, database:
            database.execute("UPDATE jobs SET provider_id = NULL")
        del provider.batches["batch-1"]  # as if killed before it came there
        done.set()
        async with living(provider, other) as (client, _):
            replies = await ask(client)
        assert len(provider.batches) == 2 and provider.direct == [] and len(replies) == 12


async def test_a_job_that_is_gone_is_paid_again_only_where_that_is_wanted(tmp_path: Path) -> None:
    """With another key a provider knows nothing of a job, which goes on all the same."""
    _, finish = holding()
    async with providing(finish=finish) as provider:
        async with living(provider, tmp_path) as (client, _):
            calls = asyncio.create_task(ask(client))
            await provider.created.wait()
            await client.drain()
            await stop(calls)
        provider.refusal = lambda request: (
            web.json_response({"error": {"message": "No such batch"}}, status=404) if request.method == "GET" else None
        )
        async with living(provider, tmp_path) as (client, _):
            with pytest.raises(ServiceError, match=r"cannot collect batch job batch-0: .*No such batch") as failed:
                await ask(client)
        assert "the API key that sent it" in failed.value.hint and provider.direct == []
        async with living(provider, tmp_path, batch=False) as (client, _):
            replies = await ask(client)

        assert [reply.text.split(":")[0] for reply in replies] == ["direct"] * 12
        assert len(provider.batches) == 1 and tables(tmp_path) == (0, 0, 12)


GARBAGE: list[Any] = [
    None,
    [],
    {"custom_id": 3},
    {"custom_id": "nobody's", "response": {"status_code": 200, "body": {"choices": []}}},
]


async def test_the_output_of_a_job_may_be_in_any_order_doubled_and_full_of_garbage(tmp_path: Path) -> None:
    def finish(requests: list[Line]) -> tuple[str, list[Line]]:
        good = [answer(request) for request in reversed(requests)]
        endless = answer(requests[0])
        endless["response"]["body"]["usage"] = {"prompt_tokens": 10**30, "completion_tokens": -1}
        return "completed", [*GARBAGE, *good[:-1], endless, *good[:3]]

    async with providing(finish=finish) as provider, living(provider, tmp_path) as (client, _):
        replies = await ask(client)

    assert [reply.text for reply in replies] == [f"batched: prompt {n}" for n in range(12)]
    assert provider.direct == [] and client.usage.calls == 12
    assert 11 * COST < client.usage.cost_usd < 13 * COST


def tables(folder: Path) -> tuple[int, ...]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        return tuple(database.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in ("jobs", "flights", "calls"))


async def test_killed_between_sending_and_collecting_nothing_is_sent_twice(tmp_path: Path) -> None:
    done, finish = holding()
    async with providing(finish=finish) as provider:
        script = f"""
import asyncio, pathlib, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
import test_batch
from batching import Provider
test_batch.module.QUIET_S = 0.1
async def life():
    async with test_batch.living(Provider(base={provider.base!r}), pathlib.Path({str(tmp_path)!r})) as (client, told):
        await test_batch.ask(client)
asyncio.run(life())
"""
        worker = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
        async with asyncio.timeout(60):
            await provider.created.wait()
        worker.kill()
        await worker.wait()
        done.set()
        async with living(provider, tmp_path) as (client, _):
            replies = await ask(client)

    assert [reply.text for reply in replies] == [f"batched: prompt {n}" for n in range(12)]
    assert (len(provider.batches), provider.direct) == (1, [])
    assert client.usage.cost_usd == pytest.approx(12 * COST)


def most_of(max_tokens: int) -> float:
    """The most that a call can cost in a batch."""
    return ((9 + 16) * 10e-6 + max_tokens * 20e-6) / 2


async def test_the_budget_cuts_a_stage_into_jobs_that_fit_and_nobody_is_asked(tmp_path: Path) -> None:
    short: list[Shortage] = []
    async with (
        providing() as provider,
        living(provider, tmp_path, budget_usd=2.0, on_used_up=short.append) as (client, _),
    ):
        borne: list[float] = []

        def finish(requests: list[Line]) -> tuple[str, list[Line]]:
            borne.append(client._budget._spent + client._budget._reserved)
            return completed(requests)

        provider.finish = finish
        replies = await ask(client, 200, max_tokens=1100)

    assert sources(replies) == ["batched"] * 200 and short == [] and provider.direct == []
    assert len(provider.batches) == 2 and sum(provider.sizes()) == 200
    assert max(borne) <= 2.0 and client.usage.cost_usd == pytest.approx(200 * COST)


async def test_a_budget_that_is_nearly_used_up_gets_small_jobs_one_after_the_other(tmp_path: Path) -> None:
    short: list[Shortage] = []
    budget = 4.5 * most_of(1100)
    async with (
        providing() as provider,
        living(provider, tmp_path, budget_usd=budget, on_used_up=short.append) as (client, _),
    ):
        replies = await ask(client, 12, max_tokens=1100)

    assert sources(replies) == ["batched"] * 12 and provider.sizes() == [4, 4, 4] and short == []


async def test_where_not_one_call_fits_a_higher_budget_is_asked_for_before_anything_is_sent(tmp_path: Path) -> None:
    short: list[Shortage] = []
    async with (
        providing() as provider,
        living(provider, tmp_path, budget_usd=0.9 * most_of(60), on_used_up=short.append) as (client, _),
    ):
        calls = asyncio.create_task(ask(client))
        await until(lambda: len(short) == 1)
        assert (provider.batches, tables(tmp_path)) == ({}, (0, 0, 0))
        assert short[0].least == pytest.approx(10 * most_of(60), rel=0.01), "a job of ten"
        await client.cap(12 * most_of(60) + 0.01, None)
        await calls

    assert provider.sizes() == [12] and len(short) == 1


async def test_a_cap_on_calls_cuts_a_stage_too(tmp_path: Path) -> None:
    short: list[Shortage] = []
    async with (
        providing() as provider,
        living(provider, tmp_path, budget_calls=15, on_used_up=short.append) as (client, _),
    ):
        calls = asyncio.create_task(ask(client, 40))
        await until(lambda: len(short) == 1)
        assert provider.sizes() == [15] and (short[0].used, short[0].least) == (15, 25)
        await client.cap(None, 40)
        assert sources(await calls) == ["batched"] * 40

    assert provider.sizes() == [15, 25]


async def test_a_paused_run_sends_no_job(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with providing() as provider, living(provider, tmp_path, gate=gate) as (client, _):
        calls = asyncio.create_task(ask(client))
        await asyncio.sleep(0.3)
        assert provider.files == {}
        gate.set()
        assert len(await calls) == 12


@pytest.mark.parametrize(("limit", "value"), [("MAX_REQUESTS", 15), ("MAX_BYTES", 15 * 230)])
async def test_large_stages_are_several_jobs(
    limit: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_queue, limit, value)
    async with providing() as provider, living(provider, tmp_path) as (client, _):
        replies = await ask(client, 40)

    assert sources(replies) == ["batched"] * 40 and provider.direct == []
    assert sum(provider.sizes()) == 40 and max(provider.sizes()) <= 15 < 40 / 2 < 15 + max(provider.sizes())


async def test_replies_that_cannot_be_read_go_into_another_job(tmp_path: Path) -> None:
    def finish(requests: list[Line]) -> tuple[str, list[Line]]:
        lines = [answer(request) for request in requests]
        for line in lines if all(request["body"]["max_tokens"] == 60 for request in requests) else ():
            line["response"]["body"]["choices"][0]["finish_reason"] = "length"
        return "completed", lines

    async with providing() as provider:
        provider.finish = finish
        async with living(provider, tmp_path) as (client, _):
            assert sources(await ask(client)) == ["batched"] * 12
            assert client.spent == pytest.approx(24 * COST) and client.usage.calls == 24
        async with living(provider, tmp_path) as (later, _):
            assert sources(await ask(later)) == ["batched"] * 12
            assert later.spent == pytest.approx(24 * COST)

    assert provider.sizes() == [12, 12] and provider.direct == []
