"""Batch jobs, against a provider on loopback that does with them what a test wants."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from batch_calls import COST, MODEL, ask, holding, living, sources, stop, tables
from batching import Line, answer, providing
from calling import until

from engine.protocol.errors import ServiceError
from engine.service import batch_api

pytestmark = pytest.mark.usefixtures("quick_batches")


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


async def test_killed_between_sending_and_collecting_nothing_is_sent_twice(tmp_path: Path) -> None:
    done, finish = holding()
    async with providing(finish=finish) as provider:
        script = f"""
import asyncio, pathlib, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
import batch_calls
from batching import Provider
from engine.service import batch
batch.QUIET_S = 0.1
async def life():
    async with batch_calls.living(Provider(base={provider.base!r}), pathlib.Path({str(tmp_path)!r})) as (client, told):
        await batch_calls.ask(client)
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
