"""A service without OpenAI's own API, through litellm's Router: replies, streams, errors and outages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from door_sides import KEY, Side, door

from engine.protocol.takeover import Mode
from engine.takeover.routed import Routed


async def test_litellm_translates_for_the_door(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.FALLBACK, model="hosted_vllm/gpt-big", timeout_s=5.0) as opened:
        assert isinstance(opened.parts.answerer._service, Routed)
        status, headers, body = await opened.ask()
        assert (status, headers["x-llamaduo-answered-by"]) == (200, "service")
        assert json.loads(body)["choices"][0]["message"]["content"] == "service answers"
        assert opened.service.bodies[0]["model"] == "gpt-big"

        _, headers, body = await opened.ask(stream=True)
        pieces = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
        assert "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces) == "service answers"
        assert body.endswith(b"data: [DONE]\n\n")

        opened.service.fault = "400"
        status, _, body = await opened.ask()
        assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request_error")

        opened.service.fault = "429"
        assert (await opened.ask())[1]["x-llamaduo-answered-by"] == "local"
        await opened.servers["service"].close()
        assert (await opened.ask())[1]["x-llamaduo-answered-by"] == "local"

        async with opened.session.post(f"{opened.base}/embeddings", json={"input": "x"}) as response:
            assert (response.status, (await response.json())["error"]["type"]) == (404, "invalid_request_error")


@pytest.mark.parametrize("name", ["api_base", "base_url", "api_key", "extra_headers", "mock_response", "fallbacks"])
async def test_a_client_cannot_send_the_key_elsewhere(tmp_path: Path, name: str) -> None:
    async with door(tmp_path, Mode.SHADOW, model="hosted_vllm/gpt-big", timeout_s=5.0) as opened:
        status, _, body = await opened.ask(**{name: opened.local.base})
        assert (status, name.encode() in body) == (400, True)
        assert opened.service.seen == []
        assert KEY not in str(opened.local.seen)
        assert (await opened.ask(store=True, metadata={"a": "b"}))[0] == 200


async def test_a_side_without_a_connection_is_named(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_ONLY, local=Side("local", fault="500")) as opened:
        status, headers, _ = await opened.ask()
        assert (status, headers["x-llamaduo-answered-by"]) == (500, "local")
        status, headers, _ = await opened.ask(headers={"x-llamaduo-side": "service"})
        assert (status, headers["x-llamaduo-answered-by"]) == (200, "service")
        assert not any("llamaduo" in name.lower() for name in opened.service.seen[0][0])
