import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.sandbox import tickets
from engine.sandbox.server import Settings, create_app

from .templates import JUDGE, judge_prompt

TICKET, TRIAGED = tickets.write_ticket(random.Random(5))
CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


@asynccontextmanager
async def sandbox(**settings: Any) -> AsyncIterator[TestClient[Any, Any]]:
    server = TestServer(create_app(Settings(**settings)))
    # aiohttp's test server cancels a handler whose client leaves, as the command's does.
    await server.start_server(shutdown_timeout=0.1)
    async with TestClient(server) as client:
        yield client


def body(prompt: str = TICKET, **more: Any) -> dict[str, Any]:
    return {"model": "sandbox", "messages": [{"role": "user", "content": prompt}], **more}


async def test_a_chat_completion() -> None:
    async with sandbox() as client:
        response = await client.post(CHAT, json=body(temperature=0.3, n=2, max_tokens=1))
        completion = await response.json()

    assert response.status == 200
    assert response.headers["x-sandbox"] == "llamaduo"
    assert completion["model"] == completion["system_fingerprint"] == "sandbox"
    assert completion["choices"][0]["message"] == {"role": "assistant", "content": TRIAGED}
    assert completion["choices"][0]["finish_reason"] == "stop"
    prompt_tokens, completion_tokens = -(-len(TICKET) // 4), -(-len(TRIAGED) // 4)
    assert completion["usage"] == {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


async def test_the_last_user_message_counts_and_may_come_in_parts() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": TICKET[:20]}, {"type": "text", "text": TICKET[20:]}]},
    ]
    async with sandbox() as client:
        completion = await (await client.post(CHAT, json={"model": "x", "messages": messages})).json()

    assert completion["choices"][0]["message"]["content"] == TRIAGED


async def test_models_say_what_it_is() -> None:
    async with sandbox() as client:
        listed = await (await client.get("/v1/models")).json()

    (model,) = listed["data"]
    assert model["id"] == "sandbox"
    assert "not a language model" in model["owned_by"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"model": 1, "messages": []}',
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": [1]}',
        b'{"model": "m", "messages": [{"role": "system", "content": "x"}]}',
        b'{"model": "m", "messages": [{"role": "user"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}',
        json.dumps(body(stream=True)).encode(),
    ],
    ids=lambda data: data[:40].decode(errors="replace"),
)
async def test_bad_requests_get_an_error_in_openai_s_shape(data: bytes) -> None:
    async with sandbox() as client:
        response = await client.post(CHAT, data=data, headers=JSON)
        error = (await response.json())["error"]

    assert response.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["message"]


async def test_unknown_paths_and_huge_bodies_too() -> None:
    async with sandbox() as client:
        unknown = await client.post("/v1/embeddings", json={})
        huge = await client.post(CHAT, data=b" " * 5_000_000, headers=JSON)

        assert (unknown.status, huge.status) == (404, 413)
        assert "/v1/chat/completions" in (await unknown.json())["error"]["message"]
        assert (await huge.json())["error"]["type"] == "invalid_request_error"


async def test_lone_surrogates_are_answered() -> None:
    async with sandbox() as client:
        response = await client.post(CHAT, data=json.dumps(body("\ud800 " + TICKET)), headers=JSON)
        completion = await response.json()

    assert completion["choices"][0]["message"]["content"] == TRIAGED


async def test_requests_beyond_the_limit_are_refused() -> None:
    async with sandbox(rpm=60, tpm=100_000) as client:
        first = await client.post(CHAT, json=body())
        second = await client.post(CHAT, json=body())
        stats = await (await client.get("/stats")).json()

        assert (first.status, second.status) == (200, 429)
        assert (await second.json())["error"]["code"] == "rate_limit_exceeded"
    assert second.headers["Retry-After"] == "1"
    assert 1 <= int(second.headers["retry-after-ms"]) <= 1000
    assert first.headers["x-ratelimit-limit-requests"] == "60"
    assert stats == {"asked": 2, "answered": 2, "asked_again": 1, "refused_429": 1}


async def test_latency_does_not_block_others() -> None:
    async with sandbox(latency=0.2) as client:
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.post(CHAT, json=body(f"Hello {number}")) for number in range(20)))

        assert 0.2 <= asyncio.get_running_loop().time() - started < 2


@pytest.mark.parametrize("status", [401, 429, 500, 502, 503, 529])
async def test_status_faults(status: int) -> None:
    async with sandbox(faults=f"{status}=1") as client:
        response = await client.post(CHAT, json=body())

        assert response.status == status
        assert (await response.json())["error"]["message"]
        assert ("Retry-After" in response.headers) == (status == 429)


async def test_an_error_may_come_with_status_200() -> None:
    async with sandbox(faults="error200=1") as client:
        response = await client.post(CHAT, json=body())

        assert response.status == 200
        assert (await response.json())["error"]["code"] == 502


async def test_reset_closes_in_mid_body() -> None:
    async with sandbox(faults="reset=1") as client:
        response = await client.post(CHAT, json=body())
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_timeout_never_answers(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    async with sandbox(faults="timeout=1", log=log) as client:
        with pytest.raises(TimeoutError):
            await client.post(CHAT, json=body(), timeout=aiohttp.ClientTimeout(total=0.3))

    (line,) = jsonl.read(log)
    assert (line["event"], line["status"], line["fault"]) == ("asked", None, "timeout")


async def test_spoilt_reply_is_a_completion() -> None:
    async with sandbox(faults="truncated=1") as client:
        completion = await (await client.post(CHAT, json=body(judge_prompt(JUDGE, TICKET, TRIAGED, "x")))).json()

    (choice,) = completion["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"].startswith('{"similarity_assessment"')


async def test_log_tells_each_request_and_survives_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    async with sandbox(log=log) as client:
        await (await client.post(CHAT, json=body())).read()
        await (await client.post(CHAT, json=body("Hello"))).read()
    with log.open("ab") as file:
        file.write(b'{"torn')
    async with sandbox(log=log) as client:
        await (await client.post(CHAT, json=body())).read()
        stats = await (await client.get("/stats")).json()

    assert stats == {"asked": 3, "answered": 3, "asked_again": 1, "refused_429": 0}
    lines = list(jsonl.read(log))
    assert [(line["event"], line["task"]) for line in lines] == [
        ("asked", "ticket"),
        ("answered", "ticket"),
        ("asked", "other"),
        ("answered", "other"),
        ("asked", "ticket"),
        ("answered", "ticket"),
    ]
    assert lines[0]["hash"] == lines[1]["hash"] == lines[4]["hash"] != lines[2]["hash"]
    assert set(lines[0]) == {"time", "hash", "task", "event", "status"}


def test_a_log_that_is_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("my notes\n")

    with pytest.raises(InputError):
        create_app(Settings(log=other))
    assert other.read_text() == "my notes\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON, 200),
        ({**JSON, "Host": "localhost:8080", "Origin": "http://localhost:3000"}, 200),
        ({**JSON, "Host": "[::1]:8080"}, 200),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({**JSON, "Host": "evil.example:8080"}, 403),
        ({**JSON, "Host": "127.0.0.1.evil.example"}, 403),
        ({**JSON, "Origin": "https://evil.example"}, 403),
        ({**JSON, "Origin": "null"}, 403),
        ({**JSON, "Origin": "http://[evil"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data"}, 415),
    ],
)
async def test_pages_in_a_browser_are_refused(headers: dict[str, str], status: int, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    async with sandbox(log=log) as client:
        response = await client.post(CHAT, data=json.dumps(body()), headers=headers)
        read = await client.get("/v1/models", headers={k: v for k, v in headers.items() if k != "Content-Type"})
    assert response.status == status and bool(log.read_bytes()) == (status == 200)
    assert read.status == (403 if status == 403 else 200)
