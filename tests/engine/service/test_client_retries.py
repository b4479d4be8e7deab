"""What the client tries again, what it gives up, and what it waits for."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from calling import MODEL, ask, asking, calls_in_flight, client_of, until
from scripted import Service as Server
from scripted import always, completion, error, prompt_of, reset, serving

from engine.protocol.errors import ServiceError
from engine.service.faults import RefusedError


async def test_retry_after_is_kept_and_nobody_else_starts(tmp_path: Path, slept: list[float]) -> None:
    handler = always(lambda: error(429, Retry_After="17"), lambda: completion("hi"))
    async with asking(handler, tmp_path) as (server, client):
        replies = await asyncio.gather(ask(client), ask(client, "other"))

    assert [reply.text for reply in replies] == ["hi", "hi"]
    assert max(slept) == pytest.approx(17, abs=0.5)
    assert len(server.bodies) == 3
    assert client.usage.failed_calls == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529])
async def test_what_passes_is_tried_again(status: int, tmp_path: Path, slept: list[float]) -> None:
    handler = always(lambda: error(status), lambda: error(status), lambda: completion("hi"))
    async with asking(handler, tmp_path) as (_, client):
        assert (await ask(client)).text == "hi"

    assert client.usage.failed_calls == 2
    assert len([pause for pause in slept if pause > 0.1]) >= 2


BROKEN = {
    "half a JSON": lambda: web.Response(text='{"choices": [', content_type="application/json"),
    "a page": lambda: web.Response(text="<html>", content_type="text/html"),
    "a list": lambda: web.json_response([1]),
    "no choice": lambda: completion("", choices=[]),
    "null for choices": lambda: completion("", choices=None),
    "content in parts": lambda: completion([{"type": "text", "text": "x"}]),
    "words for tokens": lambda: completion("x", usage={"prompt_tokens": "many", "completion_tokens": 1}),
    "another server": lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_is_tried_again(name: str, tmp_path: Path, slept: list[float]) -> None:
    async with asking(always(BROKEN[name], lambda: completion("hi")), tmp_path) as (_, client):
        assert (await ask(client)).text == "hi"


async def test_a_reset_is_tried_again(tmp_path: Path, slept: list[float]) -> None:
    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        if len(server.bodies) == 1:
            assert request.transport is not None
            request.transport.abort()
        return completion("hi")

    async with asking(handler, tmp_path) as (server, client):
        assert (await ask(client)).text == "hi"

    assert len(server.bodies) == 2


async def test_a_reset_in_mid_answer_is_tried_again(tmp_path: Path, slept: list[float]) -> None:
    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        return completion("hi") if len(server.bodies) > 1 else await reset(server, request)

    async with asking(handler, tmp_path) as (server, client):
        assert (await ask(client)).text == "hi"

    assert len(server.bodies) == 2 and client.usage.failed_calls == 1


async def test_a_name_that_does_not_exist_is_told_at_once(tmp_path: Path, slept: list[float]) -> None:
    client = client_of(Server(always(), base="http://nowhere.invalid/v1"), tmp_path)
    with pytest.raises(ServiceError, match="the host's name is not found") as failed:
        await ask(client)

    client._ledger.close()
    assert "check the host in api_base" in failed.value.hint
    assert slept == [] and calls_in_flight(tmp_path) == []


async def test_nobody_at_the_address_is_waited_for(tmp_path: Path, slept: list[float]) -> None:
    client = client_of(Server(always(), base="http://127.0.0.1:9/v1"), tmp_path, patience_s=100)
    with pytest.raises(ServiceError, match="cannot be reached: connection refused") as failed:
        await ask(client)

    client._ledger.close()
    assert "check the network, api_base" in failed.value.hint
    assert 60 < sum(slept) <= 100 and calls_in_flight(tmp_path) == []


async def test_a_timeout_is_tried_again(tmp_path: Path, slept: list[float]) -> None:
    async def handler(server: Server, _request: web.Request) -> web.StreamResponse:
        if len(server.bodies) == 1:
            await asyncio.Event().wait()
        return completion("hi")

    async with asking(handler, tmp_path, timeout_s=0.3) as (server, client):
        assert (await ask(client)).text == "hi"

    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("response", "hint"),
    [
        (lambda: error(401), "SCRIPTED_API_KEY"),
        (lambda: error(403), "SCRIPTED_API_KEY"),
        (lambda: error(404), "model name"),
        (lambda: error(400, "unknown parameter"), "[service]"),
        (lambda: error(422, "malformed"), "params"),
        (lambda: error(402, "pay first"), "top up"),
        (lambda: error(429, "You exceeded your current quota", "insufficient_quota"), "top up"),
    ],
)
async def test_what_stays_fails_at_once(response: Any, hint: str, tmp_path: Path, slept: list[float]) -> None:
    async with asking(always(response), tmp_path) as (_, client):
        with pytest.raises(ServiceError) as caught:
            await ask(client)

    assert MODEL in caught.value.message
    assert hint in caught.value.hint
    assert sum(slept) < 5


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.", None),
        ("Too long", "context_length_exceeded"),
        ("Flagged", "invalid_prompt"),
        ("The request was rejected as a result of the safety system", "content_policy_violation"),
    ],
)
async def test_a_prompt_that_will_not_be_answered_is_refused_alone(said: str, code: str | None, tmp_path: Path) -> None:
    async with asking(always(lambda: error(400, said, code)), tmp_path) as (server, client):
        with pytest.raises(RefusedError, match=said[:20]):
            await ask(client)

    assert len(server.bodies) == 1


@pytest.mark.parametrize("answered_before", [False, True])
async def test_a_service_that_stays_away_is_given_up(answered_before: bool, tmp_path: Path, slept: list[float]) -> None:
    """The user's patience holds from the first call on."""
    responses = [lambda: completion("hi")] * answered_before
    async with asking(always(*responses, lambda: error(503)), tmp_path, patience_s=100) as (_, client):
        if answered_before:
            await ask(client, "before")
        with pytest.raises(ServiceError, match="still fails after 100 s"):
            await ask(client)

    assert 60 < sum(slept) <= 100


async def test_waiting_for_a_turn_does_not_use_up_the_patience(tmp_path: Path, slept: list[float]) -> None:
    """With few requests a minute the last of many waits for hours, and a fault is then still its first."""
    faulty = {"last"}

    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        prompt = await prompt_of(request)
        if prompt in faulty:
            faulty.discard(prompt)
            return error(500)
        return completion("hi")

    async with asking(handler, tmp_path, rpm=1, concurrency=1, patience_s=30) as (_, client):
        replies = await asyncio.gather(*(ask(client, text) for text in ("a", "b", "c", "last")))

    assert [reply.text for reply in replies] == ["hi"] * 4
    assert sum(slept) > 180


async def test_an_outage_is_waited_for_and_shown(tmp_path: Path, slept: list[float]) -> None:
    """Ten minutes: told at once, then every half minute or so, with since when."""
    troubles: list[str] = []

    async def handler(_server: Server, request: web.Request) -> web.StreamResponse:
        away = await prompt_of(request) != "before" and sum(slept) < 600
        return error(503, "down for maintenance") if away else completion("hi")

    async with serving(handler) as server:
        client = client_of(server, tmp_path, on_trouble=troubles.append, input_price=1, output_price=1)
        await ask(client, "before")
        assert client.usage.silent_since is None
        calls = [asyncio.create_task(ask(client, f"during {n}")) for n in range(3)]
        await until(lambda: client.usage.silent_since is not None)
        since = client.usage.silent_since
        await until(lambda: sum(slept) > 300)
        assert since == client.usage.silent_since
        replies = await asyncio.gather(*calls)
        assert client.usage.silent_since is None

    assert [reply.text for reply in replies] == ["hi"] * 3
    assert 4 <= len(troubles) <= 21
    assert "retrying" in troubles[0]
    assert all(f"waiting for {MODEL}, no reply since " in told and "maintenance" in told for told in troubles[2:])
