"""Providers that refuse batch jobs: no batches, full queues, keys without the permission, empty accounts."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from batch_calls import COST, Person, ask, living, sources, tables
from batching import providing
from calling import KEY, until

from engine.protocol.errors import ServiceError

pytestmark = pytest.mark.usefixtures("quick_batches")


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
