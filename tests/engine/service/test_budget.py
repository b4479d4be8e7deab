import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.service.budget import Budget, Shortage

calls = st.lists(st.tuples(st.floats(0.001, 1), st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=30)
caps = st.none() | st.floats(0, 5)


def budget_of(
    usd: float | None, calls: int | None = None, spent: float = 0.0, calls_used: int = 0
) -> tuple[Budget, list[Shortage]]:
    told: list[Shortage] = []
    return Budget(usd, calls, spent=spent, calls_used=calls_used, on_used_up=told.append), told


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@given(cap=caps, most_calls=st.none() | st.integers(0, 20), spent=st.floats(0, 5), wanted=calls)
def test_the_caps_are_never_passed(
    cap: float | None, most_calls: int | None, spent: float, wanted: list[tuple[float, float, int]]
) -> None:
    async def pay() -> tuple[float, int]:
        budget, told = budget_of(cap, most_calls, spent)
        paid, made = spent, 0

        async def call(most: float, share: float, steps: int) -> None:
            nonlocal paid, made
            await budget.reserve(most)
            await turns(steps)
            paid, made = paid + most * share, made + 1
            await budget.settle(most, most * share, 1)

        tasks = [asyncio.create_task(call(*one)) for one in wanted]
        await turns(400)
        waiting = [task for task in tasks if not task.done()]
        assert len(told) == bool(waiting)
        result = paid, made
        await budget.cap(None, None)
        await asyncio.gather(*tasks)
        return result

    paid, made = asyncio.run(pay())
    assert cap is None or paid <= max(cap, spent) + 1e-9
    assert most_calls is None or made <= most_calls


async def test_a_call_waits_for_the_true_cost_of_others() -> None:
    budget, told = budget_of(1.0)
    await budget.reserve(0.8)
    waiting = asyncio.create_task(budget.reserve(0.8))
    await turns(1)
    assert not waiting.done()
    await budget.settle(0.8, 0.1, 1)
    await waiting
    assert told == []


async def test_a_used_up_budget_is_told_once_and_waits_for_more() -> None:
    budget, told = budget_of(1.0)
    await budget.reserve(0.8)
    waiting = [asyncio.create_task(budget.reserve(0.4)) for _ in range(2)]
    await budget.settle(0.8, 0.8, 1)
    await turns(5)
    (short,) = told
    assert short.reason == "$0.80 of $1.00 are spent, and the next call may cost $0.4000"
    assert (short.cap, short.used, short.least) == ("usd", 0.8, pytest.approx(1.2))

    await budget.cap(1.1, None)
    await turns(5)
    assert len(told) == 2 and not any(task.done() for task in waiting)
    await budget.cap(1.6, None)
    await asyncio.gather(*waiting)
    assert len(told) == 2


async def test_calls_are_capped_too_and_failed_ones_are_free() -> None:
    budget, told = budget_of(None, 3, calls_used=1)
    await budget.reserve(5.0)
    await budget.settle(5.0, 0.0, 0)
    await budget.reserve(5.0)
    await budget.reserve(5.0)
    waiting = asyncio.create_task(budget.reserve(5.0))
    await turns(2)
    assert told == []
    await budget.settle(5.0, 0.1, 1)
    await budget.settle(5.0, 0.1, 1)
    await turns(5)
    assert told == [Shortage("calls", 3, 4, "3 of 3 calls are used, and 1 more needed")]
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_without_a_cap_everything_goes() -> None:
    budget, _ = budget_of(None)
    for _ in range(3):
        await budget.reserve(1e9)


async def test_as_many_calls_are_reserved_as_fit_and_few_only_while_nothing_is_in_flight() -> None:
    budget, told = budget_of(1.0)
    assert await budget.reserve_some([0.3] * 5, least=2) == 3
    waiting = asyncio.create_task(budget.reserve_some([0.3] * 2, least=2))
    await turns(5)
    assert not waiting.done() and told == [], "calls in flight may leave room"
    await budget.settle(0.9, 0.5, 3, 3)
    assert await waiting == 1 and told == []
    await budget.settle(0.3, 0.4, 1)

    waiting = asyncio.create_task(budget.reserve_some([0.3] * 3, least=2))
    await turns(5)
    (short,) = told
    assert (short.cap, short.used, short.least) == ("usd", pytest.approx(0.9), pytest.approx(1.5))
    await budget.cap(2.0, None)
    assert await waiting == 3


async def test_a_cap_on_calls_bounds_what_is_reserved_together() -> None:
    budget, told = budget_of(None, 3)
    assert await budget.reserve_some([0.0] * 9, least=9) == 3
    await budget.settle(0.0, 0.0, 3, 3)
    waiting = asyncio.create_task(budget.reserve_some([0.0] * 6, least=4))
    await turns(5)
    assert [(short.cap, short.used, short.least) for short in told] == [("calls", 3, 7)]
    await budget.cap(None, 5)
    assert await waiting == 2
