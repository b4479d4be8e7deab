import asyncio
from itertools import pairwise

import pytest

from engine.service.concurrently import SLICE, both, concurrently


async def test_results_come_in_the_order_of_the_calls() -> None:
    done = [asyncio.Event() for _ in range(3)]

    async def call(number: int) -> int:
        if number < 2:
            await done[number + 1].wait()
        done[number].set()
        return number

    assert await concurrently(call(number) for number in range(3)) == [0, 1, 2]
    assert await concurrently([]) == []


async def test_the_first_failure_ends_the_rest_and_is_raised_as_itself() -> None:
    ended: list[str] = []

    async def lasting(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async def failing() -> None:
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        await concurrently([lasting("a"), failing(), lasting("b")])
    assert sorted(ended) == ["a", "b"]


async def test_cancelling_ends_all_before_it_returns() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def lasting(name: str) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    task = asyncio.create_task(concurrently([lasting("a"), lasting("b")]))
    await begun.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["a", "b"]


async def test_two_of_different_types_are_awaited_at_once() -> None:
    turn = asyncio.Event()

    async def number() -> int:
        await turn.wait()
        return 1

    async def text() -> str:
        turn.set()
        return "two"

    assert await both(number(), text()) == (1, "two")


async def test_the_failure_of_one_ends_the_other() -> None:
    ended: list[str] = []

    async def lasting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("other")

    async def failing() -> int:
        await asyncio.sleep(0)
        raise KeyError("one")

    with pytest.raises(KeyError, match="one"):
        await both(failing(), lasting())
    assert ended == ["other"]


async def test_others_have_their_turn_while_thousands_start() -> None:
    started, seen = 0, []

    async def call() -> None:
        nonlocal started
        started += 1

    async def other() -> None:
        while started < 1000:
            seen.append(started)
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await concurrently(call() for _ in range(1000))
    await beside
    assert max(b - a for a, b in pairwise(seen)) <= 2 * SLICE
