"""What hostile clients send and broken sides answer: keys stay where they belong, and the other side answers."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from door_sides import KEY, Side, door
from test_guard import raw

from engine.protocol.takeover import Mode
from engine.takeover import chat, journal

CHAT = json.dumps({"model": "gpt-big", "messages": [{"role": "user", "content": "hello"}]}).encode()


def request(*headers: bytes, body: bytes = CHAT, line: bytes = b"POST /v1/chat/completions HTTP/1.1") -> bytes:
    length = f"Content-Length: {len(body)}".encode()
    return b"\r\n".join((line, b"Host: 127.0.0.1", b"Connection: close", length, *headers)) + b"\r\n\r\n" + body


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.LOCAL_FIRST])
async def test_headers_that_show_the_client_or_are_for_one_hop_end_at_the_door(tmp_path: Path, mode: Mode) -> None:
    given = {
        "Authorization": "Bearer mine",
        "X-Api-Key": "mine",
        "x-goog-api-key": "mine",
        "X-Auth-Token": "mine",
        "Cookie": "mine",
        "Ocp-Apim-Subscription-Key": "mine",
        "X-Amz-Security-Token": "mine",
        "X-Forwarded-Host": "mine",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "mine",
        "X-Kept": "yes",
        "Idempotency-Key": "yes",
    }
    async with door(tmp_path, mode) as opened:
        await opened.ask(headers=given)
        side = opened.local if mode is Mode.LOCAL_FIRST else opened.service
        sent, _ = side.seen[0]
        assert "mine" not in str(sent)
        assert (sent["X-Kept"], sent["Idempotency-Key"]) == ("yes", "yes")
        assert sent.get("Authorization") == (None if side is opened.local else f"Bearer {KEY}")


async def test_odd_bytes_and_methods_break_nothing(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        assert b" 200 " in (await raw(opened.root, request(b"X-Name: M\xfcller"))).split(b"\r\n")[0]
        packed = request(b"Content-Encoding: gzip", b"Content-Type: application/json", body=gzip.compress(CHAT))
        assert b" 200 " in (await raw(opened.root, packed)).split(b"\r\n")[0]
        for line, status in (
            (b"TRACE /v1/models HTTP/1.1", b"405"),
            (b"GET http://evil.example/v1/models HTTP/1.1", b"404"),
            (b"GET /v1/models?a=\xff HTTP/1.1", b"404"),
            (b"POST http://evil.example/v1/chat/completions HTTP/1.1", b"404"),
        ):
            answer = await raw(opened.root, request(line=line))
            assert answer.split()[1] in (status, b"400"), answer
        assert opened.service.seen == []


async def test_a_key_that_is_no_text_is_wrong_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_KEY", "door-key-0123456789")
    async with door(tmp_path, Mode.LOCAL_FIRST, key_env="DOOR_KEY") as opened:
        assert b" 401 " in (await raw(opened.root, request(b"Authorization: Bearer \xff\xfe"))).split(b"\r\n")[0]


async def test_a_small_body_that_unpacks_into_a_large_one_is_refused(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        bomb = gzip.compress(b" " * (33 * 2**20))
        answer = await raw(opened.root, request(b"Content-Encoding: gzip", body=bomb))
        assert answer.split()[1] in (b"413", b"400")
        assert opened.local.seen == []


async def test_the_journal_holds_no_words_of_a_part(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        await opened.ask([{"type": "a secret\nline"}])
        assert opened.rows("reason") == [("a part that is no text",)]


GARBAGE = [
    (200, "text/html", b"<html>Log in</html>"),
    (200, "application/json", b"{"),
    (200, "application/json", b"[]"),
    (200, "application/json", b'{"choices": []}'),
    (200, "application/json", b'{"choices": [{"message": {"content": {"a": 1}}}]}'),
    (200, "text/event-stream", b""),
    (302, "text/html", b""),
]


@asynccontextmanager
async def answering(replies: list[tuple[int, str, bytes]]) -> AsyncIterator[str]:
    """A server that gives the last of the replies."""

    async def handler(_: web.BaseRequest) -> web.Response:
        status, kind, body = replies[-1]
        return web.Response(status=status, body=body, headers={"Content-Type": kind, "Location": "http://127.0.0.1:9/"})

    async with RawTestServer(handler) as server:
        yield str(server.make_url("/v1"))


async def test_garbage_is_no_answer_and_the_other_side_is_asked(tmp_path: Path) -> None:
    replies = GARBAGE[:1]
    async with answering(replies) as base, door(tmp_path, Mode.LOCAL_FIRST, local_base=base) as opened:
        for reply in GARBAGE:
            replies.append(reply)
            for stream in (False, True):
                answered, headers, _ = await opened.ask(stream=stream)
                assert (answered, headers["x-llamaduo-answered-by"]) == (200, "service"), reply
        alone = {"x-llamaduo-side": "local"}
        status, headers, body = await opened.ask(headers=alone)
        assert (status, json.loads(body)["error"]["code"], "Location" in headers) == (503, "no_answer", False)


async def test_a_stream_without_its_end_is_broken_off(tmp_path: Path) -> None:
    chunk = chat.event({"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]})
    async with (
        answering([(200, "text/event-stream", chunk)]) as base,
        door(tmp_path, Mode.LOCAL_FIRST, local_base=base) as opened,
    ):
        _, _, body = await opened.ask(stream=True)
        assert b"broken_off" in body.splitlines()[-2]
        assert opened.rows("outcome") == [("broken off",)]


def test_huge_numbers_and_deep_values_are_no_reply() -> None:
    huge = b'{"choices":[{"message":{"content":"a"},"logprobs":{"content":[{"logprob":1%s}]}}]}' % (b"0" * 400)
    assert chat.read_reply(huge) is None
    deep = b"[" * 900 + b"]" * 900
    chat.read_reply(b'{"choices":[{"message":{"tool_calls":[{"function":{"arguments":%s}}]}}]}' % deep)
    assert chat.read_stream(b'data: {"choices":[{"delta":{"tool_calls":[{"index":1e999}]}}]}\n\n') is not None


async def test_lone_surrogates_reach_the_journal_as_text(tmp_path: Path) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}'
    async with door(
        tmp_path, Mode.SHADOW, compare=1.0, contents=True, service=Side("service", text="Yes."),
        local=Side("local", text="yes."),
    ) as opened:  # fmt: skip
        async with opened.session.post(f"{opened.base}/chat/completions", data=body) as response:
            assert response.status == 200
        async with asyncio.timeout(10):
            while not (found := journal.rows(opened.at.journal, "SELECT prompt FROM compared")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert "\ufffd" in str(found[0][0])
