"""The two sides behind the door: whoever speaks OpenAI's API gets the client's bytes, and the client gets theirs.

`PassThrough` is for the local model's server and for a service with OpenAI's API: unchanged code gets unchanged
replies, unknown fields, headers and errors included. Any other service goes through litellm's Router
(`engine.takeover.routed`).
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Protocol

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from engine.takeover.chat import has_begun

CONNECT_S = 5.0
MOST_BYTES = 64 * 2**20
"""Of a whole reply: more comes from a server that does not end."""

HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect"),
    }
)
NOT_SENT = HOP_BY_HOP | {
    *("accept-encoding", "content-encoding", "forwarded", "origin", "referer", "via"),
    *("x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"),
}
"""Headers of a client that no side gets. A body arrives without its encoding, which aiohttp undoes; and some servers
take another method or path from a header than from the request's line."""

SECRET = re.compile(r"auth|api-?key|cookie|token|secret|password|credential|subscription-key|^x-(?:forwarded|real)-")
"""Begins or marks headers that show who the client is; the service gets the door's own key, the local model none."""

OWN = "x-llamaduo-"
"""Begins the headers between clients and the door."""

NOT_PASSED = HOP_BY_HOP | {
    *("set-cookie", "set-cookie2", "alt-svc", "strict-transport-security", "clear-site-data", "content-encoding"),
}
"""Headers of a reply that speak of the server's own address, which is not the door's, or of an encoding: some servers
pack what was asked for as it is, and aiohttp unpacks it, since the door must read it."""

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What a header's name consists of, and what no value may hold."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
"""What a client may do; TRACE would show it the key."""

REST_S_LEAST = 60.0
"""Seconds, at least, that a stream may pause before it counts as broken off."""

MOST_EVENT = 2**20
"""Bytes of a first event that is waited for."""

DATA = re.compile(rb"(?:^|[\r\n])data:")
END_OF_EVENT = re.compile(rb"\n\n|\r\r|\r\n\r\n")

OUT = frozenset({401, 403, 404, 408, 409, 425, 429})
"""Statuses that speak of the service or of our account there, not of this request; so does every one from 500 on."""

REDIRECTIONS = frozenset({301, 302, 303, 307, 308})
"""Statuses that lead elsewhere: neither the door nor its client goes there, with a prompt and a key."""

FAILURES, REST_S = 3, 2.0
"""Requests in a row that cannot reach a side, after which it counts as out, and for how long before it is tried."""


class OutError(Exception):
    """A side cannot answer; the text says why, in words for the journal."""


class UnreachedError(OutError):
    """A side cannot be reached, or could not a moment ago: it may be back soon."""


class Asked(msgspec.Struct, frozen=True):
    """A request to a side; `path` begins after /v1 and has the query. A `stream` is passed on piece by piece.

    A side that rests is asked all the same where it is the `last` that can answer.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    stream: bool = False
    timeout_s: float = 60.0
    last: bool = False


class Reply(msgspec.Struct):
    """A side's reply whose first bytes are there: all of them, or those of a stream with the `rest` to come."""

    status: int
    headers: CIMultiDict[str]
    body: bytes
    rest: AsyncIterator[bytes] | None = None

    @property
    def failed(self) -> bool:
        """Whether the side is out, rather than the request wrong."""
        return self.status >= 500 or self.status in OUT

    async def close(self) -> None:
        """Leave a stream that nobody reads on."""
        if self.rest is not None:
            with suppress(Exception):
                await self.rest.aclose()  # type: ignore[attr-defined]


class Answering(Protocol):
    """A side: `ask` returns once the first bytes are there, and raises OutError where none come."""

    async def ask(self, asked: Asked) -> Reply: ...

    async def close(self) -> None: ...


class Health(msgspec.Struct):
    """Whether a side can be reached, so that not every request waits for one that is out."""

    failures: int = 0
    rests_until: float = 0.0
    last: str = ""

    def admits(self) -> bool:
        """Whether to ask the side: while it is out, one request tries it now and then, and the others don't wait."""
        now = time.monotonic()
        if self.failures < FAILURES:
            return True
        if now < self.rests_until:
            return False
        self.rests_until = now + CONNECT_S
        return True

    def failed(self, why: str) -> None:
        """Count a request that could not reach the side."""
        self.failures, self.last = self.failures + 1, why
        if self.failures >= FAILURES:
            self.rests_until = time.monotonic() + REST_S

    def answered(self) -> None:
        """Count a request that reached it."""
        self.failures = 0


class PassThrough:
    """A server with OpenAI's API at `base`, such as https://api.openai.com/v1.

    `key` replaces the client's; without one the client's own is passed on where `lends` allows it.
    """

    def __init__(self, base: str, key: str = "", *, lends: bool = False) -> None:
        self.base = base.rstrip("/")
        self.health = Health()
        self._key, self._lends = key, lends
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, asked: Asked) -> Reply:
        if not self.health.admits() and not asked.last:
            raise UnreachedError(f"out: {self.health.last}")
        try:
            async with asyncio.timeout(asked.timeout_s):
                reply = await self._first_bytes(asked)
        except TimeoutError:
            why = f"no answer within {asked.timeout_s:g} s"
            self.health.failed(why)
            raise OutError(why) from None
        except (aiohttp.ClientError, OSError) as error:
            why = _why(error)
            self.health.failed(why)
            raise UnreachedError(why) from None
        self.health.answered()
        return reply

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _first_bytes(self, asked: Asked) -> Reply:
        response = await self._open(asked)
        if response.status in REDIRECTIONS:
            response.close()
            raise OutError(f"answered with status {response.status}, which leads elsewhere")
        headers = _kept(response.headers, NOT_PASSED)
        streams = asked.stream and response.status == 200 and not response.content_type.startswith("application/json")
        try:
            if streams:
                chunks = response.content.iter_any()
                first = await _first_event(chunks)
                return Reply(response.status, headers, first, _rest(response, chunks))
            body = await _whole(response)
        except BaseException:
            response.close()
            raise
        response.release()
        return Reply(response.status, headers, body)

    async def _open(self, asked: Asked) -> aiohttp.ClientResponse:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=20)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        url = URL(self.base + asked.path, encoded=True)
        headers = self._headers(asked.headers)
        try:
            return await self._request(asked, url, headers)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError):
            # A kept connection that the server closed as the request went out: nothing of it was answered.
            return await self._request(asked, url, headers)

    async def _request(self, asked: Asked, url: URL, headers: CIMultiDict[str]) -> aiohttp.ClientResponse:
        assert self._session is not None
        return await self._session.request(
            asked.method,
            url,
            headers=headers,
            data=asked.body or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_S, sock_read=max(asked.timeout_s, REST_S_LEAST)
            ),
        )

    def _headers(self, given: Mapping[str, str]) -> CIMultiDict[str]:
        headers = _kept(given, NOT_SENT)
        for name in [name for name in headers if SECRET.search(name.lower()) or name.lower().startswith(OWN)]:
            headers.popall(name, None)
        headers["Accept-Encoding"] = "identity"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        elif self._lends and "Authorization" in given:
            headers["Authorization"] = given["Authorization"]
        return headers


def _kept(headers: Mapping[str, str], not_kept: frozenset[str]) -> CIMultiDict[str]:
    """The headers that go on, those that are for one connection alone left out, also where only it names them.

    Bytes that are no text and control characters, which cannot be written again, become question marks.
    """
    named = {
        name.strip().lower()
        for key, value in headers.items()
        if key.lower() == "connection"
        for name in value.split(",")
    }
    return CIMultiDict(
        (key, CONTROL.sub("?", value.encode("utf-8", "replace").decode()))
        for key, value in headers.items()
        if key.lower() not in not_kept and key.lower() not in named and NAME.fullmatch(key)
    )


async def _first_event(chunks: AsyncIterator[bytes]) -> bytes:
    """The start of a stream, up to the first event that says something. Raises ClientPayloadError without an event.

    A server that has nothing to say yet keeps its stream open by comments, or says whose the answer will be, and may
    then end the stream, or send an error: so far the other side can still answer.
    """
    begun, seen = bytearray(), 0
    async for chunk in chunks:
        fresh = max(seen, len(begun) - 3)  # an event's end may be cut
        begun += chunk
        ends = [found.end() for found in END_OF_EVENT.finditer(begun, fresh)]
        if ends:  # each event is looked at once, however many come
            events, seen = bytes(begun[seen : ends[-1]]), ends[-1]
            if DATA.search(events) and has_begun(events):
                return bytes(begun)
        if len(begun) > MOST_EVENT:
            return bytes(begun)
    if not begun.strip() or (begun.startswith(b":") and not DATA.search(begun)):
        raise aiohttp.ClientPayloadError("a stream without an event")
    return bytes(begun)


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise aiohttp.ClientPayloadError(f"more than {MOST_BYTES // 2**20} MB")
    return bytes(body)


async def _rest(response: aiohttp.ClientResponse, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The rest of a stream. Raises OutError where it breaks; the connection ends with it."""
    try:
        async for chunk in chunks:
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise OutError(_why(error)) from None
    finally:
        response.close()


def _why(error: BaseException) -> str:
    """Why a side cannot be reached, without its address, which may hold a name of the user's."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its certificate is refused"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno  # asyncio's own text has the address
        return f"no connection: {os.strerror(number).lower() if number else 'failed'}"
    if isinstance(error, aiohttp.ClientResponseError):
        return "its reply is not HTTP"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "it broke off its answer"
    return type(error).__name__
