import asyncio
import time

import pytest

from engine.protocol.status import Stopping
from engine.service import in_flight
from engine.service.in_flight import CallsInFlight


async def take(calls: CallsInFlight, may: asyncio.Event) -> None:
    with calls.one():
        await may.wait()


async def test_it_waits_and_tells_each_change() -> None:
    told: list[Stopping] = []
    calls, first, second = CallsInFlight(20.0, told.append), asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(take(calls, may)) for may in (first, second)]
    await asyncio.sleep(0)
    draining = [asyncio.create_task(calls.drain()) for _ in range(3)]
    async with asyncio.timeout(10):
        first.set()
        while [one.calls for one in told] != [2, 1]:  # noqa: ASYNC110 - it polls, too
            await asyncio.sleep(0.01)
        assert not any(one.done() for one in draining)
        second.set()
        await asyncio.gather(*draining, *tasks)
    assert len(calls) == 0 and [one.calls for one in told] == [2, 1]


async def test_with_nothing_in_flight_it_is_done() -> None:
    await CallsInFlight(20.0, pytest.fail).drain()


async def test_it_waits_no_longer_than_the_latest_call_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "GRACE_S", 0.0)
    told: list[Stopping] = []
    calls = CallsInFlight(0.5, told.append)
    task = asyncio.create_task(take(calls, asyncio.Event()))
    await asyncio.sleep(0.2)
    began = time.time()
    await calls.drain()
    assert len(calls) == 1 and told[0].until - began < 0.35, "it was sent a while ago"
    task.cancel()


async def test_once_dropped_it_never_waits_again() -> None:
    calls = CallsInFlight(20.0, lambda _: None)
    task = asyncio.create_task(take(calls, asyncio.Event()))
    await asyncio.sleep(0)
    draining = asyncio.create_task(calls.drain())
    await asyncio.sleep(0)
    calls.drop()
    async with asyncio.timeout(5):
        await draining
        await calls.drain()
    task.cancel()
