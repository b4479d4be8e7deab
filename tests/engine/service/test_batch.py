"""Batch jobs, against a provider on loopback that does with them what a test wants."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from batching import Line, Provider, answer, providing

from engine.protocol.errors import ServiceError
from engine.protocol.rows import Message
from engine.service import batch as module
from engine.service.client import Client
from engine.service.completion import Completion, Request
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
    monkeypatch.setattr(module, "FIRST_POLL_S", 0.02)
    monkeypatch.setattr(module, "MAX_POLL_S", 0.05)


@asynccontextmanager
async def living(provider: Provider, folder: Path, **settings: Any) -> AsyncIterator[tuple[Client, Told]]:
    """A client for one life of a worker, with all that it tells."""
    told: Told = []
    ours = {name: settings.pop(name) for name in ("gate", "on_used_up") if name in settings}
    values = {"api_key_env": "SCRIPTED_API_KEY", "api_base": provider.base, "batch": True, **PRICES, **settings}
    ledger = Ledger(folder / "ledger.sqlite")
    client = Client(Service(model=MODEL, **values), ledger, on_note=told.append, on_trouble=told.append, **ours)
    try:
        yield client, told
    finally:
        await client.close()
        ledger.close()


async def ask(client: Client, count: int = 12) -> list[Completion]:
    calls = [
        client.complete([{"role": "user", "content": f"prompt {n}"}], model=MODEL, max_tokens=60, temperature=0.0)
        for n in range(count)
    ]
    return await asyncio.gather(*calls)


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
async def test_what_a_job_does_not_answer_is_asked_directly(finish: Any, tmp_path: Path) -> None:
    async with providing(finish=finish) as provider, living(provider, tmp_path) as (client, told):
        replies = await ask(client)

    assert [reply.text.split(":")[0] for reply in replies] == ["direct"] * 4 + ["batched"] * 8
    assert client.usage.cost_usd == pytest.approx((8 + 4 * 2) * COST) == pytest.approx(client._budget._spent)
    assert len(provider.batches) == 1
    assert "8 replies, 4 calls sent directly" in told[-1]


async def test_a_job_that_fails_as_a_whole_says_why(tmp_path: Path) -> None:
    async with providing(finish=lambda _: ("failed", [])) as provider, living(provider, tmp_path) as (client, told):
        task = asyncio.create_task(ask(client))
        await provider.created.wait()
        (batch,) = provider.batches.values()
        batch["errors"] = {"object": "list", "data": [{"code": "x", "message": "Enqueued token limit reached"}]}
        replies = await task

    assert len(provider.direct) == 12 and replies[0].text == "direct: prompt 0"
    assert "Enqueued token limit reached" in told[-1]


async def test_a_service_without_batches_is_asked_directly_and_a_wrong_key_ends_it(tmp_path: Path) -> None:
    async with providing(refusal=lambda _: web.Response(status=404)) as provider:
        async with living(provider, tmp_path) as (client, told):
            await ask(client)
        assert len(provider.direct) == 12 and "batch job rejected; its calls are sent directly" in told[0]

        provider.refusal = lambda _: web.json_response({"error": {"message": f"no {KEY}"}}, status=401)
        (other := tmp_path / "other").mkdir()
        async with living(provider, other) as (client, told):
            with pytest.raises(ServiceError) as failed:
                await ask(client)
        assert "SCRIPTED_API_KEY" in failed.value.hint and KEY not in failed.value.message
        assert len(provider.direct) == 12


async def test_an_outage_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_POLL_S", 0.01)
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


async def test_a_whole_job_is_reserved_before_it_is_sent(tmp_path: Path) -> None:
    most = 12 * ((9 + 16) * 10e-6 + 60 * 20e-6) / 2
    used_up = asyncio.Event()
    async with providing() as provider:
        settings = {"budget_usd": most * 0.9, "on_used_up": lambda short: used_up.set()}
        async with living(provider, tmp_path, **settings) as (client, _):
            calls = asyncio.create_task(ask(client))
            await used_up.wait()
            assert (provider.batches, tables(tmp_path)) == ({}, (0, 0, 0))
            await client.cap(most * 1.1, None)
            await calls

    assert len(provider.batches) == 1 and client.usage.cost_usd <= most


async def test_a_paused_run_sends_no_job(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with providing() as provider, living(provider, tmp_path, gate=gate) as (client, _):
        calls = asyncio.create_task(ask(client))
        await asyncio.sleep(0.3)
        assert provider.files == {}
        gate.set()
        assert len(await calls) == 12


def test_large_stages_are_several_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[Message] = [{"role": "user", "content": "x" * 100}]
    made = [
        Request(model=model, messages=messages, max_tokens=9, repeat=n)
        for model in ("openai/a", "openai/b")
        for n in range(5)
    ]
    requests = {request.digest: request for request in made}
    monkeypatch.setattr(module, "MAX_REQUESTS", 4)
    assert [(model, len(load)) for model, load in module._chunks(requests)] == [
        *(("openai/a", 4), ("openai/a", 1)),
        *(("openai/b", 4), ("openai/b", 1)),
    ]
    monkeypatch.setattr(module, "MAX_BYTES", 2 * len(module._line(made[0])))
    assert [len(load) for _, load in module._chunks(requests)] == [2, 2, 1, 2, 2, 1]
