"""Calls that fail: what they take of the budget, whom they concern, and what becomes of the others."""

import asyncio
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from calling import ask, asking, calls_in_flight, client_of, until
from scripted import Service as Server
from scripted import always, completion, error, prompt_of, reset, serving

from engine.protocol.errors import ServiceError
from engine.protocol.rows import Message
from engine.service.client import Client
from engine.service.concurrently import concurrently
from engine.service.faults import RefusedError
from engine.service.ledger import Ledger
from engine.settings.schema import Service

PRICES = {"input_price": 1.0, "output_price": 10.0}
COST = 60e-6
"""USD of a scripted answer: 10 tokens in, 5 out."""


async def hang(_server: Server, _request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def drip(_server: Server, request: web.Request) -> web.StreamResponse:
    """Keep the connection alive, as some gateways do, for ever."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def garble(_server: Server, _request: web.Request) -> web.StreamResponse:
    return web.Response(text='{"choices": [', content_type="application/json")


@pytest.mark.parametrize("mishap", [hang, reset, drip, garble])
async def test_an_answer_that_was_lost_on_its_way_is_paid_for(
    mishap: Callable[[Server, web.Request], object], tmp_path: Path, slept: list[float]
) -> None:
    """The service has worked for it, and bills it: as much as for the answer that came, as soon as one has."""

    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        if len(server.bodies) > 2:
            return completion("hi")
        response = await mishap(server, request)  # type: ignore[misc]
        assert isinstance(response, web.StreamResponse)
        return response

    async with asking(handler, tmp_path, timeout_s=0.3, budget_usd=1.0, **PRICES) as (server, client):
        reply = await ask(client)
        tries = client.usage.calls + client.usage.failed_calls
        assert client.spent == pytest.approx(tries * COST)
        assert (client._budget._calls_used, client._budget._reserved, client._budget._in_flight) == (tries, 0, 0)
        client._ledger.close()
        later = client_of(server, tmp_path, budget_usd=1.0, **PRICES)

    assert reply.text == "hi" and tries >= 3
    assert (later.spent, later._budget._calls_used) == (pytest.approx(tries * COST), tries)


async def test_lost_answers_never_pass_the_budget(tmp_path: Path, slept: list[float]) -> None:
    """A service that hangs may bill each try: the third does not fit, and waits for a higher cap."""
    told = asyncio.Event()
    most = 521e-6
    async with serving(hang) as server:
        client = client_of(
            server, tmp_path, timeout_s=0.2, budget_usd=2 * most + 1e-9, on_used_up=lambda _: told.set(), **PRICES
        )
        call = asyncio.create_task(ask(client))
        await told.wait()
        assert client.usage.failed_calls == 2 and len(server.bodies) <= 2
        call.cancel()
        await asyncio.wait([call])


@pytest.mark.parametrize("status", [429, 500, 503, 504, 529])
async def test_a_refusal_is_not_paid_for(status: int, tmp_path: Path, slept: list[float]) -> None:
    async with asking(always(lambda: error(status), lambda: completion("hi")), tmp_path, **PRICES) as (_, client):
        await ask(client)
        client._ledger.close()

    assert client.spent == pytest.approx(COST) and calls_in_flight(tmp_path) == []


async def test_an_answer_that_drips_ends_in_time(tmp_path: Path, slept: list[float]) -> None:
    async with asking(drip, tmp_path, timeout_s=0.3, patience_s=0) as (_, client):
        with pytest.raises(ServiceError, match=r"no call within 0\.3 s each, for 0 s: no complete reply in time"):
            await ask(client)


async def test_a_gemini_answer_that_cannot_be_read_is_tried_again(
    tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """litellm calls it a bad request."""
    monkeypatch.setenv("GEMINI_API_KEY", "planted-0123456789")
    answer = {
        "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8},
    }
    handler = always(lambda: web.Response(text="<html>"), lambda: web.json_response(answer))
    async with serving(handler, "/{path:.*}") as server:
        model = "gemini/gemini-2.5-pro"
        client = Client(Service(model=model, api_base=server.base), Ledger(tmp_path / "ledger.sqlite"))
        messages: list[Message] = [{"role": "user", "content": "hello"}]
        reply = await client.complete(messages, model=model, max_tokens=5, temperature=0.0)

    assert reply.text == "hi" and client.usage.failed_calls == 1


async def objecting(_server: Server, request: web.Request) -> web.StreamResponse:
    return error(400, "no such thing") if "odd" in await prompt_of(request) else completion("hi")


async def test_an_odd_request_ends_no_run(tmp_path: Path, slept: list[float]) -> None:
    async with asking(objecting, tmp_path) as (server, client):
        for number in range(6):
            with pytest.raises(RefusedError, match="no such thing"):
                await ask(client, f"odd {number}")
            await ask(client, f"{number}")
        client._ledger.close()
        later = client_of(server, tmp_path)
        with pytest.raises(RefusedError, match="no such thing"):
            await ask(later, "odd")


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
async def test_the_last_requests_of_a_stage_are_not_refused_where_the_service_refuses_all(
    status: int, tmp_path: Path, slept: list[float]
) -> None:
    """No other call is left that could tell; the client finds out with one of its own."""
    responses = [lambda: completion("hi")] * 5
    handler = always(*responses, lambda: error(status, "not you"))
    async with asking(handler, tmp_path, patience_s=60) as (_, client):
        for number in range(5):
            await ask(client, str(number))
        ends = await asyncio.gather(*(ask(client, f"last {n}") for n in range(3)), return_exceptions=True)

    assert [type(end) for end in ends] == [ServiceError] * 3
    assert "rejects all requests for 60 s" in str(ends[0]) and client.usage.calls == 5


async def test_a_service_that_rejects_all_for_a_while_is_waited_for(tmp_path: Path, slept: list[float]) -> None:
    """A gateway without its backend answers 404 or 403 to all."""

    async def handler(server: Server, _request: web.Request) -> web.StreamResponse:
        return error(404, "no route") if len(server.bodies) > 20 and sum(slept) < 300 else completion("hi")

    async with asking(handler, tmp_path) as (_, client):
        replies = await asyncio.gather(*(ask(client, str(n)) for n in range(60)))

    assert [reply.text for reply in replies] == ["hi"] * 60


async def test_a_wrong_setup_is_told_at_once(tmp_path: Path, slept: list[float]) -> None:
    async with asking(always(lambda: error(403, "not you")), tmp_path) as (_, client):
        with pytest.raises(ServiceError, match="not you"):
            await ask(client)

    assert sum(slept) < 10


@pytest.mark.parametrize("status", [500, 502, 403, 400])
@pytest.mark.parametrize("others", [True, False])
async def test_a_prompt_that_always_fails_is_refused_alone(
    others: bool, status: int, tmp_path: Path, slept: list[float]
) -> None:
    async def handler(_server: Server, request: web.Request) -> web.StreamResponse:
        return error(status, "no such thing") if "odd" in await prompt_of(request) else completion("hi")

    async with asking(handler, tmp_path, **PRICES) as (_, client):
        texts = ["odd 1", "odd 2", *(str(n) for n in range(40 * others))]
        ends = await asyncio.gather(*(ask(client, text) for text in texts), return_exceptions=True)

    assert [type(end) for end in ends[:2]] == [RefusedError] * 2
    assert all(getattr(end, "text", "") == "hi" for end in ends[2:])
    assert client.usage.failed_calls <= 30 and sum(slept) < 300
    assert client.usage.silent_since is None  # nobody waits: hours of training that follow are no outage
    assert client.spent == pytest.approx(client.usage.calls * COST)


async def test_a_prompt_that_never_ends_is_refused_after_a_few_paid_tries(tmp_path: Path, slept: list[float]) -> None:
    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        return await hang(server, request) if "odd" in await prompt_of(request) else completion("hi")

    async with asking(handler, tmp_path, timeout_s=0.3, **PRICES) as (server, client):
        odd = asyncio.create_task(ask(client, "odd"))
        number = 0
        while not odd.done():
            await ask(client, f"{(number := number + 1)}")
            await asyncio.sleep(0.02)
        with pytest.raises(RefusedError, match="no complete reply in time"):
            await odd

    assert server.prompts.count("odd") <= 5


async def test_many_faults_at_random_refuse_nobody(tmp_path: Path, slept: list[float]) -> None:
    dice = random.Random(1)

    async def handler(_server: Server, _request: web.Request) -> web.StreamResponse:
        return error(503) if dice.random() < 0.4 else completion("hi")

    async with asking(handler, tmp_path) as (_, client):
        replies = await asyncio.gather(*(ask(client, str(n)) for n in range(150)))

    assert len(replies) == 150


@pytest.mark.parametrize("status", [400, 402, 429])
async def test_an_empty_account_is_told_at_once(status: int, tmp_path: Path) -> None:
    said = "Your credit balance is too low to access the API"
    async with asking(always(lambda: completion("hi"), lambda: error(status, said)), tmp_path) as (server, client):
        await ask(client, "before")
        with pytest.raises(ServiceError, match="credit balance") as failed:
            await ask(client)

    assert "top up the account" in failed.value.hint and len(server.bodies) == 2


async def test_a_service_that_names_a_pause_is_not_set_up_wrongly(tmp_path: Path, slept: list[float]) -> None:
    handler = always(lambda: error(503, Retry_After="60"), lambda: completion("hi"))
    async with asking(handler, tmp_path) as (_, client):
        assert (await ask(client)).text == "hi"

    assert sum(slept) >= 60


async def test_what_is_paid_for_comes_home_before_a_failure_ends_the_work(tmp_path: Path) -> None:
    answers = asyncio.Event()

    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        if await prompt_of(request) == "bad":
            asyncio.get_running_loop().call_later(0.2, answers.set)
            await until(lambda: server.at_work == 2)
            return error(401)
        await answers.wait()
        return completion("hi")

    async with asking(handler, tmp_path, concurrency=2) as (server, client):
        with pytest.raises(ServiceError, match="rejects"):
            await concurrently(ask(client, text) for text in ("slow", "bad", "third"))
        assert sorted(server.prompts) == ["bad", "slow"]
        client._ledger.close()
        assert (await ask(client_of(server, tmp_path), "slow")).cached


async def test_a_refusal_is_told_in_one_line(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "", "refusal": "No.\n\n  Never.\n"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    async with asking(always(lambda: completion("", choices=choices)), tmp_path) as (_, client):
        with pytest.raises(RefusedError, match=re.escape("refusal: No. Never.")):
            await ask(client)


async def test_in_an_outage_one_request_tries_for_all(tmp_path: Path, slept: list[float]) -> None:
    """Of 20, each paid for its lost replies, none finds out by itself that the service is still away."""

    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        return await reset(server, request) if sum(slept) < 900 else completion("hi")

    async with asking(handler, tmp_path, **PRICES) as (server, client):
        replies = await asyncio.gather(*(ask(client, str(n)) for n in range(20)))

    assert [reply.text for reply in replies] == ["hi"] * 20
    assert len(server.bodies) < 20 + 8 * 3 + 120


async def test_when_the_one_that_tries_is_stopped_another_goes_on(tmp_path: Path, slept: list[float]) -> None:
    async def handler(_server: Server, _request: web.Request) -> web.StreamResponse:
        return error(503) if sum(slept) < 900 else completion("hi")

    async with asking(handler, tmp_path) as (_, client):
        calls = [asyncio.create_task(ask(client, str(n))) for n in range(6)]
        await until(lambda: sum(slept) > 300)
        for call in calls[:3]:
            call.cancel()
        replies = await asyncio.gather(*calls[3:])

    assert [reply.text for reply in replies] == ["hi"] * 3
