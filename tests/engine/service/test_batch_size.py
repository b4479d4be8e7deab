"""How a stage is cut into batch jobs: by the budget, the caps and the limits of the provider."""

import asyncio
from pathlib import Path

import pytest
from batch_calls import COST, ask, living, sources, tables
from batching import Line, completed, providing
from calling import until

from engine.service import batch_queue
from engine.service.budget import Shortage

pytestmark = pytest.mark.usefixtures("quick_batches")


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
