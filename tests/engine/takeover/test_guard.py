"""Who comes in: keys, hosts, paths, bodies, and what none of them may do to the journal or the log."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from door_sides import KEY, door

from engine.protocol.connections import Connections
from engine.protocol.errors import InputError
from engine.protocol.takeover import DoorSettings, Mode
from engine.takeover import access
from engine.takeover import door as doors

DOOR_KEY = "door-key-0123456789"


@pytest.mark.parametrize(
    ("shown", "status"),
    [(None, 401), ("Bearer wrong", 401), (f"Basic {DOOR_KEY}", 401), (f"Bearer {DOOR_KEY}", 200), ("Bearer é", 401)],
)
async def test_a_key_is_asked_for_and_goes_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str | None, status: int
) -> None:
    monkeypatch.setenv("DOOR_KEY", DOOR_KEY)
    async with door(tmp_path, Mode.LOCAL_FIRST, key_env="DOOR_KEY") as opened:
        answered, _, body = await opened.ask(headers={"Authorization": shown} if shown else None)
        assert answered == status
        assert DOOR_KEY.encode() not in body
        for seen, _ in [*opened.local.seen, *opened.service.seen]:
            assert DOOR_KEY not in str(seen)
        assert len(opened.rows("id")) == (status == 200)


async def test_without_a_key_no_web_page_comes_in(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example"},
            {"Host": "127.0.0.1.evil.example:80"},
        ):
            status, _, body = await opened.ask(headers=headers)
            assert (status, json.loads(body)["error"]["type"]) == (403, "invalid_request_error")
        assert opened.local.seen == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "box.example"])
async def test_no_door_is_open_to_others_without_a_key(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match="other machines"):
        async with door(tmp_path, Mode.SHADOW, host=host):
            pass


def test_an_empty_key_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_KEY", " ")
    settings = DoorSettings(
        host="0.0.0.0", port=0, key_env="DOOR_KEY", local="http://x", timeout_s=1, compare=0, margin=2,
        budget_usd=None, contents=False,
    )  # fmt: skip
    with pytest.raises(InputError, match="holds no key"):
        access.door_key(settings)


TRICKY = (
    *("/v1/../files", "/v1/models/../files", "/v1/chat/completions/../../files", "/v1/./files", "/v1/models/.."),
    *("/v1/models/%2e%2e/files", "/v1/models%2f..%2ffiles", "/v1/%66iles", "/v1/%63hat/completions", "/V1/files"),
    *("/v1//files", "//v1/files", "/v1/models//files", "/v1/models/a/../../files", "/v1/models;/../files"),
    *("/v1/models/", "/v1/models/..%5cfiles", "/v1/models/a%00b", "/v1/models%3f", "/v1/models#/../files"),
    *(
        "/v1/../health",
        "/v1/%2e%2e/secret",
        "/v1/a/..%2fb",
        "//evil/v1/x",
        "/v1//x",
        "/v1/a%0d%0aX:1",
        "/v1/a\\b",
        "/x",
    ),
    *("http://evil/v1/x", "/v1/%252e%252e/x", "/%76%31/x", "*", "/v1/a;b", "/v1/a\xffb"),
)


async def test_tricky_paths_reach_no_side(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.FALLBACK) as opened:
        for method, path in itertools.product(("GET", "POST"), TRICKY):
            asked = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            answer = await raw(opened.root, asked.encode("latin-1"))
            assert answer.split()[1] in (b"404", b"400"), (path, answer)
        assert opened.rows("answered_by, outcome") == [("nobody", "refused")] * len(opened.rows("id"))
        assert opened.requests == []


STORED = (
    *("GET /v1/files", "GET /v1/files/file-1/content", "DELETE /v1/files/file-1", "POST /v1/files", "GET /v1/batches"),
    *("POST /v1/batches", "GET /v1/fine_tuning/jobs", "POST /v1/fine_tuning/jobs", "DELETE /v1/models/ft:gpt:me::1"),
    *("GET /v1/organization/users", "POST /v1/organization/admin_api_keys", "GET /v1/vector_stores", "GET /v1/threads"),
    *("GET /v1/chat/completions", "GET /v1/chat/completions/chatcmpl-1", "GET /v1/responses/resp_1", "PUT /v1/models"),
    *("DELETE /v1/responses/resp_1", "POST /v1/responses/resp_1/cancel", "POST /v1/uploads", "POST /v1/models"),
    *("GET /v1/models/a/permissions", "POST /v1/images/generations", "PATCH /v1/chat/completions"),
)


@pytest.mark.parametrize("mode", [Mode.FALLBACK, Mode.SHADOW])
async def test_what_an_account_has_stored_is_out_of_reach(tmp_path: Path, mode: Mode) -> None:
    """The service would answer with the door's key: these never get there, and the client is told where to ask."""
    async with door(tmp_path, mode) as opened:
        for line in STORED:
            method, path = line.split()
            async with opened.session.request(method, opened.root + path, json={}) as response:
                error = (await response.json())["error"]
                assert (response.status, error["type"], error["code"]) == (404, "invalid_request_error", "unknown_url")
                assert error["message"].startswith(f"Unknown request URL: {line}. This door passes on")
        assert opened.requests == []
        assert set(opened.rows("answered_by, outcome, status")) == {("nobody", "refused", 404)}


PASSED = (
    "POST /v1/embeddings",
    "POST /v1/completions",
    "POST /v1/responses",
    "GET /v1/models",
    "GET /v1/models/gpt-4o.1",
)


async def test_answers_and_models_pass_with_the_doors_key_alone(tmp_path: Path) -> None:
    given = {"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/v1/files", "X-Rewrite-URL": "/v1/files"}
    async with door(tmp_path, Mode.FALLBACK) as opened:
        for line in PASSED:
            method, path = line.split()
            async with opened.session.request(
                method, f"{opened.root}{path}?a=%20b", json={}, headers=given
            ) as response:
                assert response.headers["x-llamaduo-answered-by"] == "service"
        assert [seen for seen, _ in opened.requests] == [f"{line}?a=%20b" for line in PASSED]
        assert not [name for _, headers in opened.requests for name in headers if name.lower() in map(str.lower, given)]
        assert {headers["Authorization"] for _, headers in opened.requests} == {f"Bearer {KEY}"}


BODIES = (b"", b"{", b"[]", b"null", b'{"messages": []}', b'{"messages": [1]}', b"[" * 100_000, b"1" * 10_000)


async def test_malformed_bodies_are_the_clients(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        for body in BODIES:
            async with opened.session.post(f"{opened.base}/chat/completions", data=body) as response:
                assert (response.status, (await response.json())["error"]["type"]) == (400, "invalid_request_error")
        assert opened.rows("outcome, answered_by, status") == [("refused", "nobody", 400)] * len(BODIES)


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": 1, "content": {"a": 1}}]},
        {"messages": [{"role": "user", "content": [1, None, {"type": 3}]}]},
        {"tools": 7, "stream": "yes", "n": "x", "modalities": 3},
        {"stream": True, "stream_options": 5},
    ],
)
@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.LOCAL_FIRST])
async def test_odd_requests_are_for_the_sides_to_judge(tmp_path: Path, more: dict[str, Any], mode: Mode) -> None:
    async with door(tmp_path, mode, compare=1.0) as opened:
        status, _, _ = await opened.ask(**more)
        assert status in (200, 400)
        assert len(opened.rows("id")) == 1


async def test_a_large_body_and_a_slow_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "MOST_BODY", 1000)
    monkeypatch.setattr(doors, "BODY_S", 0.2)
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        status, _, body = await opened.ask("x" * 2000)
        assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{"
        answer = await raw(opened.root, head)
        assert b"408" in answer.split(b"\r\n")[0]
        assert [outcome for (outcome,) in opened.rows("outcome")] == ["refused", "refused"]


async def test_ids_of_clients_cannot_forge_lines(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        for given in ("fine-1", "a b", "x" * 500):
            await opened.ask(headers={"X-Client-Request-Id": given})
        assert [id_ for (id_,) in opened.rows("client_id")] == ["fine-1", "", ""]
        smuggled = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\rX-C: d\r\nConnection: close\r\n\r\n"
        assert (await raw(opened.root, smuggled)).split()[1] == b"400"


async def raw(root: str, data: bytes) -> bytes:
    """All that comes back for these bytes."""
    port = int(root.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(10):
        found = await reader.read(65536)
    writer.close()
    return found


async def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    """A head that never ends holds a connection, but no request, and not for ever."""
    from aiohttp import web

    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        runner = web.AppRunner(doors.Door(opened.parts, Connections(1000)).app(), keepalive_timeout=0.3)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        for said in (b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127"):
            assert await raw(f"http://x:{runner.addresses[0][1]}", said) == b""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/health") as response,
        ):
            assert response.status == 200
        await runner.cleanup()
