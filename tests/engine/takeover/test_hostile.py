"""What hostile clients send and broken sides answer: keys stay where they belong, and the other side answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from door_sides import KEY, Side, door
from test_guard import raw

from engine.protocol.server_log import KindsAlone
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


async def test_a_bad_request_writes_no_line_and_no_key_into_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The HTTP library would log each with the bytes that it cannot read."""
    handler = KindsAlone(level=logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
            for bad in (
                request(b"Authorization: Bearer sk-mine\x00"),
                request(b"X: " + b"sk-mine" * 2000),
                request(b"Content-Length: 3"),
                request(line=b"sk-mine /v1/models HTTP/1.1"),
                request(b"Content-Encoding: gzip", body=b"sk-mine"),
            ):
                assert (await raw(opened.root, bad)).split()[1] == b"400"
        assert len(caplog.records) >= 4  # the library did log them
        assert capsys.readouterr().err == ""
        logging.getLogger("aiohttp.server").error("sk-mine", exc_info=ValueError("sk-mine"))
        logging.getLogger("x").warning("sk-mine")
        assert capsys.readouterr().err == "aiohttp.server: ValueError in unknown\nx: warning\n"
    finally:
        logging.getLogger().removeHandler(handler)


GARBAGE = [
    (200, "text/html", b"<html>Log in</html>"),
    (200, "application/json", b"{"),
    (200, "application/json", b"[]"),
    (200, "application/json", b'{"choices": []}'),
    (200, "application/json", b'{"choices": [{"message": {"content": {"a": 1}}}]}'),
    (200, "text/event-stream", b""),
    (302, "text/html", b""),
    (204, "application/json", b""),
    (200, "text/event-stream", b": wait\n\n: wait\n\n"),
    (200, "text/event-stream", b": wait\n\n" + chat.event({"error": {"message": "no"}})),
]


@asynccontextmanager
async def answering(replies: list[tuple[int, str, bytes]], **headers: str) -> AsyncIterator[str]:
    """A server that gives the last of the replies."""

    async def handler(_: web.BaseRequest) -> web.Response:
        status, kind, body = replies[-1]
        own = {"Content-Type": kind, "Location": "http://127.0.0.1:9/", **headers}
        return web.Response(status=status, body=body, headers=own)

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
        replies.append((302, "text/html", b""))
        alone = {"x-llamaduo-side": "local"}
        status, headers, body = await opened.ask(headers=alone)
        assert (status, json.loads(body)["error"]["code"], "Location" in headers) == (503, "no_answer", False)


@asynccontextmanager
async def streaming(first: bytes, then: bytes) -> AsyncIterator[str]:
    """A server whose stream has two pieces; it breaks off where the second one is empty."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(first)
        await asyncio.sleep(0.05)
        await response.write(then)
        if not then and request.transport is not None:
            request.transport.abort()
        return response

    async with RawTestServer(handler) as server:
        yield str(server.make_url("/v1"))


WHOSE = chat.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})


@pytest.mark.parametrize("end", [b"", chat.event({"error": {"message": "out of memory"}})])
async def test_a_stream_that_has_only_said_whose_it_is_can_still_be_the_other_sides(tmp_path: Path, end: bytes) -> None:
    """Servers send the role at once, and the first word once they have it: a model may die in between."""
    async with streaming(WHOSE, end) as base, door(tmp_path, Mode.LOCAL_FIRST, local_base=base) as opened:
        status, _, body = await opened.ask(stream=True)
        assert status == 200 and b"service" in body and b"broken_off" not in body
        assert opened.rows("outcome, answered_by") == [("answered", "service")]


@pytest.mark.parametrize(
    ("events", "begun"),
    [
        ([{"choices": []}, {"choices": [{"delta": {"role": "assistant"}}]}], False),
        ([{"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]}], True),
        ([{"choices": [{"delta": {"content": "w"}}]}], True),
        ([{"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}], True),
        ([{"choices": [{"text": ""}]}], True),
        ([{"type": "response.created"}], True),
        ([{"choices": 7}], True),
        ([{"error": {}}], True),
    ],
)
def test_when_a_stream_has_begun(events: list[object], begun: bool) -> None:
    assert chat.has_begun(b"".join(map(chat.event, events))) is begun
    assert chat.has_begun(WHOSE + chat.DONE)


async def test_a_stream_without_its_end_is_broken_off(tmp_path: Path) -> None:
    chunk = chat.event({"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]})
    async with (
        answering([(200, "text/event-stream", chunk)]) as base,
        door(tmp_path, Mode.LOCAL_FIRST, local_base=base) as opened,
    ):
        _, _, body = await opened.ask(stream=True)
        assert b"broken_off" in body.splitlines()[-2]
        assert opened.rows("outcome") == [("broken off",)]


async def test_an_error_within_a_stream_is_passed_on_and_stands_in_the_journal(tmp_path: Path) -> None:
    chunk = chat.event({"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]})
    error = chat.event({"error": {"message": "overloaded"}})
    async with streaming(chunk, error) as base, door(tmp_path, Mode.LOCAL_FIRST, local_base=base) as opened:
        _, _, body = await opened.ask(stream=True)
        assert body == chunk + error
        assert opened.rows("outcome, reason") == [("broken off", "local-first; local: its stream has an error")]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_packed_reply_is_read_and_passed_on_as_it_is(tmp_path: Path, stream: bool) -> None:
    """Some servers pack what was asked for unpacked."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "ü 😀"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}).encode()
    kind = "application/json"
    if stream:
        body, kind = chat.as_stream(body, usage=False), "text/event-stream"
    async with (
        answering([(200, kind, gzip.compress(body))], **{"Content-Encoding": "gzip"}) as base,
        door(tmp_path, Mode.LOCAL_FIRST, local_base=base) as opened,
    ):
        status, headers, found = await opened.ask(stream=stream)
        assert (status, headers["x-llamaduo-answered-by"], "Content-Encoding" in headers) == (200, "local", False)
        assert found == body


@asynccontextmanager
async def sending(*pieces: bytes) -> AsyncIterator[str]:
    """A server that sends these bytes, one piece after the other."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "ü 😀 漢字"}, "finish_reason": "stop"}]}


async def test_characters_cut_between_pieces_arrive_whole(tmp_path: Path) -> None:
    stream = chat.as_stream(json.dumps(ANSWER, ensure_ascii=False).encode(), usage=False)
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    async with sending(HEAD + b"\r\n", *pieces) as base, door(tmp_path, Mode.LOCAL_ONLY, local_base=base) as opened:
        _, _, body = await opened.ask(stream=True)
        assert body == stream


async def test_a_reply_with_odd_headers_is_passed_on_without_what_no_header_may_hold(tmp_path: Path) -> None:
    stream = chat.as_stream(json.dumps(ANSWER).encode(), usage=False)
    head = HEAD + b"X-Odd: a\x0bb\xff\x7f\r\nX-Fine: \ta b\r\n\r\n"
    async with sending(head + stream) as base, door(tmp_path, Mode.LOCAL_ONLY, local_base=base) as opened:
        status, headers, body = await opened.ask(stream=True)
        assert (status, body) == (200, stream)
        assert (headers["X-Odd"], headers["X-Fine"]) == ("a?b??", "a b")


async def test_calls_of_tools_that_are_no_functions_are_the_services(tmp_path: Path) -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}}
    reply = json.dumps({"choices": [choice]}).encode()
    read = chat.read_reply(reply)
    assert read is not None
    assert read.text == '{"name": "shell", "arguments": {"name":"shell","input":"ls"}}'
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        await opened.ask(tools=[{"type": "custom", "custom": {"name": "shell"}}])
        assert opened.rows("answered_by, reason") == [("service", "a tool that is no function")]


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
