"""The door against a service and a local server on loopback: replies, modes, streams, errors, and the journal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp.test_utils import TestServer
from door_sides import KEY, Side, door

from engine.protocol.takeover import Mode


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.FALLBACK])
async def test_a_reply_of_the_service_comes_unchanged(tmp_path: Path, mode: Mode) -> None:
    async with door(tmp_path, mode) as opened:
        status, headers, body = await opened.ask(temperature=0.3, store=True, unknown={"a": None})
        async with opened.session.post(f"{opened.service.base}/chat/completions", json=opened.service.bodies[0]) as own:
            assert body == await own.read()
        assert (status, headers["X-Kept"], headers["x-llamaduo-answered-by"]) == (200, "yes", "service")
        sent, given = opened.service.seen[0]
        assert given == {
            "model": "gpt-big",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.3,
            "store": True,
            "unknown": {"a": None},
        }
        assert sent["Authorization"] == f"Bearer {KEY}"
        assert opened.rows("answered_by, outcome, status, prompt_tokens, cost_usd, request, reply") == [
            ("service", "answered", 200, 100, pytest.approx(100e-6 + 20e-6), None, None)
        ]


async def test_the_openai_client_needs_no_change(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        client = openai.AsyncOpenAI(base_url=opened.base, api_key="any", max_retries=0)
        messages: Any = [{"role": "user", "content": "hello"}]
        whole = await client.chat.completions.create(model="gpt-big", messages=messages)
        assert (whole.choices[0].message.content, whole.model) == ("local answers", "local")
        pieces = await client.chat.completions.create(model="gpt-big", messages=messages, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in pieces])
        assert text == "local answers"
        tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
        called = await client.chat.completions.create(model="gpt-big", messages=messages, tools=tools)
        assert called.choices[0].message.tool_calls[0].function.arguments == '{"a": 1}'
        assert [model.id async for model in client.models.list()] == ["service"]
        assert opened.local.bodies[0]["model"] == "small"
        await client.close()


@pytest.mark.parametrize("fault", ["500", "429", "400", "404", "hang", "error200", "half"])
@pytest.mark.parametrize("stream", [False, True])
async def test_local_first_falls_back_on_anything(tmp_path: Path, fault: str, stream: bool) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST, local=Side("local", fault=fault), timeout_s=0.3) as opened:
        status, headers, body = await opened.ask(stream=stream)
        assert (status, headers["x-llamaduo-answered-by"]) == (200, "service")
        assert b"service" in body
        ((who, outcome, reason),) = opened.rows("answered_by, outcome, reason")
        assert (who, outcome) == ("service", "answered")
        assert reason.startswith("local: ")


@pytest.mark.parametrize("fault", ["500", "429", "401", "hang", "error200", "half"])
async def test_fallback_lets_the_local_model_answer_where_the_service_is_out(tmp_path: Path, fault: str) -> None:
    async with door(tmp_path, Mode.FALLBACK, service=Side("service", fault=fault), timeout_s=0.3) as opened:
        status, headers, _ = await opened.ask()
        assert (status, headers["x-llamaduo-answered-by"]) == (200, "local")
        assert opened.rows("answered_by, saved_usd > 0, cost_usd") == [("local", 1, 0.0)]


@pytest.mark.parametrize("stream", [False, True])
async def test_only_where_another_side_can_answer_is_one_not_waited_for(tmp_path: Path, stream: bool) -> None:
    """A model that thinks for minutes answers through the door as it does without it."""
    slow = Side("service", delay_s=0.5)
    async with door(tmp_path / "a", Mode.SHADOW, service=slow, timeout_s=0.2) as opened:
        status, headers, _ = await opened.ask(stream=stream)
        assert (status, headers["x-llamaduo-answered-by"]) == (200, "service")
    async with door(
        tmp_path / "b", Mode.FALLBACK, service=slow, timeout_s=0.2, local=Side("local", delay_s=0.5)
    ) as opened:
        status, headers, _ = await opened.ask(stream=stream)
        assert (status, headers["x-llamaduo-answered-by"]) == (200, "local")
        assert opened.rows("reason") == [("service no answer within 0.2 s",)]


async def test_a_wrong_request_is_the_clients_and_no_reason_to_fall_back(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.FALLBACK, service=Side("service", fault="400")) as opened:
        status, _, body = await opened.ask()
        assert (status, json.loads(body)) == (400, {"error": {"message": "no", "type": "x"}})
        assert opened.local.seen == []


@pytest.mark.parametrize("mode", [Mode.LOCAL_FIRST, Mode.FALLBACK])
async def test_a_side_that_is_killed_is_no_longer_waited_for(tmp_path: Path, mode: Mode) -> None:
    async with door(tmp_path, mode) as opened:
        first = "local" if mode is Mode.LOCAL_FIRST else "service"
        await opened.servers[first].close()
        answers = [await opened.ask() for _ in range(6)]
        assert {status for status, _, _ in answers} == {200}
        reasons = [reason for (reason,) in opened.rows("reason")]
        assert "no connection" in reasons[0]
        assert "out: no connection" in reasons[-1]


async def test_no_side_is_an_error_in_openais_shape(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        for server in opened.servers.values():
            await server.close()
        status, _, body = await opened.ask()
        assert (status, json.loads(body)["error"]["code"]) == (503, "no_answer")
        assert opened.rows("outcome, answered_by, status") == [("failed", "nobody", 503)]


async def test_a_broken_contract_is_the_services_to_mend(tmp_path: Path) -> None:
    contract = 'format = "json"'
    async with door(tmp_path, Mode.LOCAL_FIRST, contract=contract) as opened:
        _, headers, body = await opened.ask()
        assert (headers["x-llamaduo-answered-by"], b"service" in body) == ("service", True)
        opened.local.text = '{"a": 1}'
        _, headers, body = await opened.ask(stream=True)
        assert headers["x-llamaduo-answered-by"] == "local"
        assert headers["Content-Type"].startswith("text/event-stream")
        assert body.endswith(b"data: [DONE]\n\n")
        await opened.servers["service"].close()
        opened.local.text = "not JSON"
        status, headers, _ = await opened.ask()
        assert (status, headers["x-llamaduo-answered-by"]) == (200, "local")
        reasons = [reason for (reason,) in opened.rows("reason")]
        assert reasons[0] == "local: breaks the contract: not JSON"
        assert "the service is out: no connection" in reasons[2]


async def test_images_and_several_choices_are_the_services(tmp_path: Path) -> None:
    image = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        for given, more in ((image, {}), ("hello", {"n": 2})):
            _, headers, _ = await opened.ask(given, **more)
            assert headers["x-llamaduo-answered-by"] == "service"
        assert opened.service.bodies[0]["messages"][0]["content"] == image
        assert opened.local.seen == []


async def test_other_paths_are_passed_on(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        async with opened.session.post(f"{opened.base}/embeddings?a=%20b", json={"input": ["x"]}) as response:
            assert await response.json() == {"echo": {"input": ["x"]}, "query": "a= b"}
        assert opened.rows("path, answered_by, outcome") == [("/v1/embeddings", "service", "answered")]


async def test_a_stream_that_breaks_ends_with_an_error(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST, local=Side("local", fault="break")) as opened:
        status, _, body = await opened.ask(stream=True)
        last = json.loads(body.strip().splitlines()[-1].removeprefix(b"data: "))
        assert (status, last["error"]["code"]) == (200, "broken_off")
        assert opened.rows("outcome, answered_by") == [("broken off", "local")]


async def test_a_client_that_leaves_is_in_the_journal(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.FALLBACK, service=Side("service", delay_s=5.0)) as opened:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await opened.ask()
        async with asyncio.timeout(60):
            while opened.rows("outcome") != [("left",)]:  # noqa: ASYNC110 - the journal sets no event
                await asyncio.sleep(0.02)


async def test_contents_are_kept_only_where_they_are_wanted(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST, contents=True) as opened:
        await opened.ask("a secret")
        ((request, reply),) = opened.rows("request, reply")
        assert "a secret" in request
        assert "local answers" in reply


async def test_metrics_and_health(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        await opened.ask()
        async with opened.session.get(f"{opened.root}/metrics") as response:
            text = await response.text()
        assert 'llamaduo_requests_total{answered_by="local",outcome="answered"} 1' in text
        assert 'llamaduo_side_seconds_bucket{side="local",le="+Inf"} 1' in text
        async with opened.session.get(f"{opened.root}/health") as response:
            assert await response.json() == {"status": "ok"}


@pytest.mark.parametrize("mode", [Mode.LOCAL_FIRST, Mode.FALLBACK])
async def test_a_side_that_is_back_answers_where_the_other_one_is_gone(tmp_path: Path, mode: Mode) -> None:
    """The first is still held for out when the second goes: it is asked before a request fails."""
    async with door(tmp_path, mode) as opened:
        first = opened.local if mode is Mode.LOCAL_FIRST else opened.service
        second = opened.service if mode is Mode.LOCAL_FIRST else opened.local
        port = opened.servers[first.name].port
        await opened.servers[first.name].close()
        for _ in range(4):
            assert (await opened.ask())[1]["x-llamaduo-answered-by"] == second.name
        back = TestServer(first.app(), port=port)
        await back.start_server()
        await opened.servers[second.name].close()
        for _ in range(4):
            status, headers, _ = await opened.ask()
            assert (status, headers["x-llamaduo-answered-by"]) == (200, first.name)
        await back.close()
    assert not [reason for (reason,) in opened.rows("reason") if "127.0.0.1" in reason]
