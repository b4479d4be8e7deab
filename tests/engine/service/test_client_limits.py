"""Caps on money and calls, concurrency, and what a minute allows."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from calling import MODEL, ask, asking, client_of
from scripted import Service as Server
from scripted import always, completion, error, serving

from engine.service.limiter import FIRST_CALLS


async def test_the_budget_is_never_passed_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    """Many at once, each reserving far more than it costs: they wait for each other, then for a higher cap."""
    # A call reserves some 60 + 50 tokens at $1 each a thousand, and takes 15 of them.
    prices = {"input_price": 1000.0, "output_price": 1000.0, "budget_usd": 0.2}
    used_up = asyncio.Event()
    async with serving(always(lambda: completion("hi"))) as server:
        client = client_of(server, tmp_path, on_used_up=lambda _: used_up.set(), concurrency=16, **prices)
        calls = [asyncio.create_task(ask(client, f"question {n}")) for n in range(40)]
        await used_up.wait()
        answered = [call.result() for call in calls if call.done()]
        assert len(answered) == len(server.bodies) == client.usage.calls
        assert 0.09 < sum(reply.cost_usd for reply in answered) == pytest.approx(client.usage.cost_usd)
        assert client.usage.cost_usd <= 0.2
        await client.cap(5.0, None)
        replies = await asyncio.gather(*calls)

    assert len(replies) == len(server.bodies) == 40
    assert client.usage.cost_usd == pytest.approx(40 * 0.015)


async def test_calls_are_capped_and_counted_over_all_lives(tmp_path: Path) -> None:
    used_up = asyncio.Event()
    async with serving(always(lambda: completion("hi"))) as server:
        await ask(client_of(server, tmp_path))
        client = client_of(server, tmp_path, on_used_up=lambda _: used_up.set(), budget_calls=3)
        calls = [asyncio.create_task(ask(client, f"question {n}")) for n in range(9)]
        await used_up.wait()
        assert len(server.bodies) == 3
        assert (await ask(client)).cached
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("text", ["漢" * 300, "🦙" * 300, "a" * 1200])
async def test_a_prompt_reserves_at_least_a_token_a_byte(text: str, tmp_path: Path) -> None:
    """A character of some scripts is more than one token: only bytes are a bound."""
    prices = {"input_price": 1000.0, "output_price": 1000.0}
    budget = len(text.encode()) / 1000
    used_up = asyncio.Event()
    async with serving(always(lambda: completion("hi"))) as server:
        client = client_of(server, tmp_path, on_used_up=lambda _: used_up.set(), budget_usd=budget, **prices)
        call = asyncio.create_task(ask(client, text))
        await used_up.wait()
        call.cancel()

    assert server.bodies == []


@pytest.mark.parametrize("tokens", [None, 0, -3, 10**9, 10**30])
async def test_an_answer_without_a_sensible_count_is_booked_by_our_own(tokens: int | None, tmp_path: Path) -> None:
    usage = None if tokens is None else {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": tokens}
    response = lambda: completion("hello there", usage=usage)  # noqa: E731
    async with asking(always(response), tmp_path, input_price=1, output_price=1) as (_, client):
        reply = await ask(client)

    assert 0 < reply.prompt_tokens < 100 and 0 < reply.completion_tokens < 100 and reply.cost_usd > 0


async def test_no_more_at_once_than_allowed(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def handler(server: Server, _request: web.Request) -> web.StreamResponse:
        if server.at_work == 3:
            gate.set()
        await gate.wait()
        return completion("hi")

    async with asking(handler, tmp_path, concurrency=3) as (server, client):
        await asyncio.gather(*(ask(client, str(n)) for n in range(12)))

    assert server.most_at_work == 3


async def test_faults_of_the_server_take_no_concurrency(tmp_path: Path, slept: list[float]) -> None:
    responses = [lambda: error(503)] * 5
    async with asking(always(*responses, lambda: completion("hi")), tmp_path) as (_, client):
        await asyncio.gather(*(ask(client, str(n)) for n in range(8)))
        window = client._sender._limiters[MODEL].window

    assert window.size >= FIRST_CALLS


async def test_limits_that_nobody_told_are_found(tmp_path: Path) -> None:
    """A service that works on 12 calls at once and refuses the others, without a word on when to come back."""

    async def handler(server: Server, _request: web.Request) -> web.StreamResponse:
        if server.at_work > 12:
            return error(429, Retry_After="0.05")
        await asyncio.sleep(0.05)
        return completion("hi")

    async with asking(handler, tmp_path) as (_, client):
        replies = await asyncio.gather(*(ask(client, str(n)) for n in range(150)))
        window = client._sender._limiters[MODEL].window

    assert len(replies) == 150
    assert 4 <= window.size <= 48, "on a busy machine a place is held longer than the service works"
    assert client.usage.failed_calls < 40


async def test_what_a_minute_allows_is_not_asked_beyond(tmp_path: Path, slept: list[float]) -> None:
    """The headers say that nothing is left: nobody has to be refused to learn it."""
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}

    def response() -> web.Response:
        answer = completion("hi")
        answer.headers.update(headers)
        return answer

    async with asking(always(response, lambda: completion("hi")), tmp_path) as (_, client):
        await ask(client)
        await ask(client, "another")

    assert sum(slept) == pytest.approx(20, abs=0.5)
    async with asking(always(response), tmp_path, rpm=6000) as (_, client):
        before = sum(slept)
        await ask(client, "with a limit of ours")
        await ask(client, "the headers are not needed")
    assert sum(slept) - before < 1


async def test_answers_count_against_tokens_a_minute(tmp_path: Path, slept: list[float]) -> None:
    response = lambda: completion("hi", prompt_tokens=20, completion_tokens=980)  # noqa: E731
    async with asking(always(response), tmp_path, tpm=6000, concurrency=1) as (_, client):
        for number in range(4):
            await ask(client, f"{number}")

    assert sum(slept) == pytest.approx(30, abs=2)
