import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BudgetError
from engine.service.budget import Budget

calls = st.lists(st.tuples(st.floats(0.001, 1), st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=30)


@settings(deadline=None)
@given(cap=st.floats(0, 5), spent=st.floats(0, 5), wanted=calls)
def test_the_cap_is_never_passed(cap: float, spent: float, wanted: list[tuple[float, float, int]]) -> None:
    async def pay() -> float:
        budget = Budget(cap, spent)

        async def call(most: float, share: float, turns: int) -> None:
            await budget.reserve(most)
            for _ in range(turns):
                await asyncio.sleep(0)
            await budget.settle(most, most * share)

        results = await asyncio.gather(*(call(*one) for one in wanted), return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), BudgetError}
        return budget.spent

    assert asyncio.run(pay()) <= max(cap, spent) + 1e-9


async def test_a_call_waits_for_the_true_cost_of_others() -> None:
    budget = Budget(1.0, 0.0)
    await budget.reserve(0.8)
    waiting = asyncio.create_task(budget.reserve(0.8))
    await asyncio.sleep(0)
    assert not waiting.done()
    await budget.settle(0.8, 0.1)
    await waiting


async def test_who_waits_in_vain_is_told() -> None:
    budget = Budget(1.0, 0.0)
    await budget.reserve(0.8)
    waiting = asyncio.create_task(budget.reserve(0.8))
    await asyncio.sleep(0)
    await budget.settle(0.8, 0.8)
    with pytest.raises(BudgetError) as caught:
        await waiting
    assert "$0.80 spent" in caught.value.message and "budget_usd" in caught.value.hint


async def test_without_a_cap_everything_goes() -> None:
    budget = Budget(None, 0.0)
    for _ in range(3):
        await budget.reserve(1e9)
