import asyncio
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from calling import KEY, MODEL, ask, asking, calls_in_flight, client_of, until
from scripted import Handler, always, completion, error, serving
from scripted import Service as Server

from engine.protocol.errors import ServiceError
from engine.protocol.rows import Message
from engine.service.client import Client
from engine.service.completion import Completion
from engine.service.ledger import Ledger
from engine.settings.schema import Service


async def test_the_key_and_the_parameters_are_sent(tmp_path: Path) -> None:
    seen: list[str] = []

    async def handler(_server: Server, request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        return completion("hi")

    async with asking(handler, tmp_path, params={"top_p": 0.5}) as (server, client):
        reply = await ask(client)

    assert reply == Completion("hi", "stop", 10, 5, 0.0, model="scripted")
    assert seen == [f"Bearer {KEY}"]
    (body,) = server.bodies
    assert (body["model"], body["top_p"], body["max_tokens"], body["temperature"]) == ("scripted", 0.5, 50, 0.0)


@pytest.mark.parametrize(
    ("model", "params", "sent"),
    [("openai/gpt-4-turbo", {}, 4096), ("openai/gpt-4-turbo", {"max_tokens": 5000}, 5000), (MODEL, {}, 8192)],
)
async def test_no_more_is_asked_for_than_a_model_can_write(
    model: str, params: dict[str, int], sent: int, tmp_path: Path
) -> None:
    """It would refuse the request; what the user asks for is the user's."""
    async with serving(always(lambda: completion("hi"))) as server:
        settings = Service(model=model, api_base=server.base, api_key_env="SCRIPTED_API_KEY", params=params)
        client = Client(settings, Ledger(tmp_path / "ledger.sqlite"))
        messages: list[Message] = [{"role": "user", "content": "hello"}]
        await client.complete(messages, model=model, max_tokens=8192, temperature=0.0)

    assert server.bodies[0]["max_tokens"] == sent


async def test_a_request_is_paid_once_by_this_client_and_the_next(tmp_path: Path) -> None:
    async with asking(always(lambda: completion("hi")), tmp_path, input_price=1, output_price=2) as (server, client):
        first = await ask(client)
        again = await ask(client)
        another = client_of(server, tmp_path, input_price=1, output_price=2)
        later = await ask(another)

    assert len(server.bodies) == 1
    assert first.cost_usd == pytest.approx(20e-6)
    assert again.cached and later.cached and not first.cached
    assert (client.usage.calls, client.usage.cached_calls, client.usage.prompt_tokens) == (1, 1, 10)
    assert (another.usage.calls, another.usage.cached_calls, another.usage.cost_usd) == (1, 1, first.cost_usd)


async def test_repeats_and_other_parameters_are_other_requests(tmp_path: Path) -> None:
    async with asking(always(lambda: completion("hi")), tmp_path) as (server, client):
        await ask(client)
        await ask(client, repeat=1)
        await ask(client, max_tokens=51)

    assert len(server.bodies) == 3


def gated(gate: asyncio.Event) -> Handler:
    async def handler(_server: Server, _request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return completion("hi")

    return handler


async def test_two_at_once_are_sent_once(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with asking(gated(gate), tmp_path) as (server, client):
        two = asyncio.gather(ask(client), ask(client))
        await server.asked.wait()
        gate.set()
        replies = await two

    assert len(server.bodies) == 1
    assert [reply.text for reply in replies] == ["hi", "hi"]
    assert (client.usage.calls, client.usage.cached_calls) == (1, 1)


async def test_one_of_two_is_cancelled_and_the_other_gets_its_answer(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with asking(gated(gate), tmp_path) as (server, client):
        first, second = asyncio.create_task(ask(client)), asyncio.create_task(ask(client))
        await server.asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        reply = await second

    assert reply.text == "hi"


async def test_both_of_two_learn_of_a_failure(tmp_path: Path) -> None:
    async with asking(always(lambda: error(401)), tmp_path) as (server, client):
        failures = await asyncio.gather(ask(client), ask(client), return_exceptions=True)

    assert [type(failure) for failure in failures] == [ServiceError, ServiceError]
    assert len(server.bodies) == 1


async def test_cancelled_in_mid_call_it_counts_against_the_budget_and_is_priced_when_asked_again(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    price = {"input_price": 1.0, "output_price": 10.0}
    most, cost = 521e-6, 60e-6
    async with asking(gated(gate), tmp_path, budget_usd=2 * most + 1e-9, **price) as (server, client):
        call = asyncio.create_task(ask(client))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert client.usage.calls == 0
        assert client.spent == pytest.approx(most)
        gate.set()
        reply = await ask(client)
        assert client.spent == pytest.approx(2 * cost)
        client._ledger.close()
        again = client_of(server, tmp_path, budget_usd=1.0, **price)

    assert reply.text == "hi" and not reply.cached
    assert len(server.bodies) == 2
    assert (again.spent, again._budget._calls_used) == (pytest.approx(2 * cost), 2)


async def test_a_call_that_waits_for_its_turn_costs_nothing_when_it_is_cancelled(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with asking(always(lambda: completion("hi")), tmp_path, gate=gate, input_price=1, output_price=9) as (
        _,
        client,
    ):
        call = asyncio.create_task(ask(client))
        await until(lambda: bool(calls_in_flight(tmp_path)))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        client._ledger.close()

    assert calls_in_flight(tmp_path) == []


async def test_calls_in_flight_at_a_crash_count_against_the_caps(tmp_path: Path) -> None:
    """The crash is a ledger that was left as it was with calls abroad."""
    gate, told = asyncio.Event(), list[Any]()
    prices = {"input_price": 1.0, "output_price": 10.0}
    async with asking(gated(gate), tmp_path, **prices) as (server, client):
        calls = [asyncio.create_task(ask(client, text)) for text in ("one", "two")]
        await until(lambda: server.at_work == 2)
        (crashed := tmp_path / "crashed").mkdir()
        shutil.copy(tmp_path / "ledger.sqlite", crashed)
        gate.set()
        await asyncio.gather(*calls)
        assert calls_in_flight(tmp_path) == [] and len(calls_in_flight(crashed)) == 2

        capped = client_of(server, crashed, budget_calls=3, on_used_up=told.append, on_trouble=told.append, **prices)
        assert (capped.usage.calls, capped.usage.cost_usd) == (0, 0.0)
        await ask(capped, "one")
        over = asyncio.create_task(ask(capped, "three"))
        await until(lambda: len(told) == 2)
        assert told[0] == "2 interrupted calls count against the budget, up to $0.0010"
        assert (told[1].used, told[1].least) == (3, 4)
        over.cancel()
        await asyncio.wait([over])


async def test_the_key_is_never_told(
    tmp_path: Path, slept: list[float], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    troubles: list[str] = []
    for status in (400, 401, 403, 404, 500, 529):
        async with asking(always(lambda status=status: error(status, f"bad key {KEY} in Bearer {KEY}")), tmp_path) as (
            server,
            _,
        ):
            settings = Service(model=MODEL, api_base=server.base, api_key_env="SCRIPTED_API_KEY", patience_s=30)
            client = Client(settings, Ledger(tmp_path / "ledger.sqlite"), on_trouble=troubles.append)
            with pytest.raises(ServiceError) as caught:
                await ask(client)
        assert KEY not in f"{caught.value} {caught.value.message} {caught.value.hint}"
        assert "$SCRIPTED_API_KEY" in caught.value.message
        assert caught.value.__cause__ is None and caught.value.__suppress_context__

    assert troubles and not any(KEY in trouble for trouble in troubles)
    assert KEY not in (tmp_path / "ledger.sqlite").read_bytes().decode(errors="replace")
    captured = capfd.readouterr()
    assert KEY not in captured.out + captured.err
    assert not any(KEY in record.getMessage() for record in caplog.records if record.name != "aiohttp.access")


@pytest.mark.parametrize(("content", "text"), [("a\ud800b", "a\ufffdb"), ("a\0b", "a\0b")])
async def test_odd_contents(content: Any, text: str, tmp_path: Path) -> None:
    async with asking(always(lambda: completion(content)), tmp_path) as (_, client):
        assert (await ask(client)).text == text
        assert (await ask(client)).text == text


async def test_half_characters_in_a_prompt_are_replaced(tmp_path: Path) -> None:
    async with asking(always(lambda: completion("hi")), tmp_path) as (server, client):
        await ask(client, "a\udc00b")

    assert server.prompts == ["a\ufffdb"]


async def test_the_sandbox_is_free_and_asked_where_it_is(tmp_path: Path) -> None:
    async with serving(always(lambda: completion("hi"))) as server:
        client = Client(Service(model="sandbox"), Ledger(tmp_path / "ledger.sqlite"), sandbox_base=server.base)
        messages: list[Message] = [{"role": "user", "content": "hello"}]
        reply = await client.complete(messages, model="sandbox", max_tokens=5, temperature=0.0)

    assert reply.cost_usd == 0.0
    assert json.dumps(server.bodies[0]["model"]) == '"sandbox"'


async def test_calls_in_flight_are_drained_and_no_other_is_sent(tmp_path: Path) -> None:
    answers, leaves = asyncio.Event(), asyncio.Event()
    leaves.set()
    async with serving(gated(answers)) as server:
        client = client_of(server, tmp_path, gate=leaves)
        first = asyncio.create_task(ask(client, "first"))
        await server.asked.wait()
        leaves.clear()
        second = asyncio.create_task(ask(client, "second"))
        asyncio.get_running_loop().call_later(0.1, answers.set)

        await client.drain()

        assert (await first).text
        assert server.prompts == ["first"]
        second.cancel()
