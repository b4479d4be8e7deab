"""Await many coroutines at once; the first failure cancels the rest and is raised itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")


SLICE = 20
"""Coroutines that start at once: the heart beats between two slices of thousands."""


async def concurrently(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in the order of `calls`."""
    tasks: list[asyncio.Task[T]] = []
    async with _ended_together(tasks):
        for call in calls:
            tasks.append(asyncio.create_task(call))
            if len(tasks) % SLICE == 0:
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks)


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """The results of two coroutines of different types."""
    one, two = asyncio.create_task(first), asyncio.create_task(second)
    async with _ended_together([one, two]):
        await asyncio.gather(one, two)
    return one.result(), two.result()


@asynccontextmanager
async def _ended_together(tasks: Sequence[asyncio.Task[Any]]) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
