"""Calls that a batch job leaves open: sent directly, put into another job, or asked about."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from batch_calls import COST, Person, ask, living, sources, stop, tables
from batching import Line, answer, completed, providing
from calling import until

from engine.protocol.errors import ServiceError
from engine.service import batch_queue
from engine.service.callers import Requests
from engine.service.full_price import DirectCalls

pytestmark = pytest.mark.usefixtures("quick_batches")


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
