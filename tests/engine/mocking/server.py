"""The server of all mocked providers: reads each request in its provider's form, and bills what it was told to."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from mocking import wire
from mocking.wire import Json, Wire

LATENCY_S = 0.2
"""Seconds that a reply takes where it does not say."""

CUT_BYTES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request as a provider reads it, in the `life` of a worker, at a time of the monotonic clock.

    It is the `number`-th of all, and the `tries`-th that begins with this turn.
    """

    wire: Wire
    number: int
    tries: int
    life: int
    at: float
    model: str
    text: str
    max_tokens: int | None
    key: str
    body: Json

    @property
    def prompt_tokens(self) -> int:
        return len(self.text) // 4 + 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What comes back, how it comes, and the tokens that are billed for it, as (prompt, completion)."""

    body: Json | list[Any] | str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    billed: tuple[int, int] = (0, 0)
    after_s: float = LATENCY_S
    how: Literal["whole", "cut", "hang", "drip", "closed"] = "whole"

    @property
    def text(self) -> str:
        return self.body if isinstance(self.body, str) else json.dumps(self.body)


Respond = Callable[[Ask], Reply]
"""How a provider behaves; it may keep state from request to request."""


@dataclass
class Mock:
    """Answers with `respond`, and remembers each request, and each bill with the number of its request."""

    respond: Respond
    base: str = ""
    life: int = 1
    asked: list[Ask] = field(default_factory=list)
    bills: dict[int, tuple[int, int]] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)
    """Requests that are none for a chat completion."""
    delivered: dict[int, Reply] = field(default_factory=dict)
    """Replies that went out whole, by the number of their request."""
    _tries: Counter[str] = field(default_factory=Counter)
    _runner: web.BaseRunner | None = None
    _site: web.TCPSite | None = None

    def usd(self, prompt_price: float, completion_price: float) -> float:
        """The whole bill, at USD for a million tokens."""
        tokens = self.bills.values()
        return sum(prompt * prompt_price + completion * completion_price for prompt, completion in tokens) / 1e6

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "CONNECT":
            return web.Response(status=502, reason="Bad Gateway")
        known = wire.of(request.path)
        if known is None or request.method != "POST":
            self.stray.append(f"{request.method} {request.path}")
            return web.json_response({"error": "no such page"}, status=404)
        ask = self._read(known, request, await request.json())
        self.asked.append(ask)
        reply = self.respond(ask)
        try:
            await asyncio.sleep(reply.after_s)
        finally:  # what is begun is billed, even where nobody waits for it any more
            if any(reply.billed):
                self.bills[ask.number] = reply.billed
        response = await _send(reply, request)
        if reply.how == "whole":
            self.delivered[ask.number] = reply
        return response

    async def listen(self, runner: web.BaseRunner, port: int = 0) -> None:
        """Open the port."""
        self._runner, self._site = runner, web.TCPSite(runner, "127.0.0.1", port)
        await self._site.start()
        self.base = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def leave(self, seconds: float) -> None:
        """Cut all connections, and refuse new ones for a time."""
        assert self._runner is not None and self._site is not None and isinstance(self._runner.server, web.Server)
        port = self._runner.addresses[0][1]
        await self._site.stop()
        for connection in self._runner.server.connections:
            connection.force_close()
        await asyncio.sleep(seconds)
        await self.listen(self._runner, port)

    def _read(self, known: Wire, request: web.BaseRequest, body: Json) -> Ask:
        turns = known.turns(body)
        self._tries[turns[0]] += 1
        return Ask(
            wire=known,
            number=len(self.asked) + 1,
            tries=self._tries[turns[0]],
            life=self.life,
            at=time.monotonic(),
            model=str(body.get("model") or request.path),
            text="\n".join(turns),
            max_tokens=known.max_tokens(body),
            key=known.key(request.headers),
            body=body,
        )


async def _send(reply: Reply, request: web.BaseRequest) -> web.StreamResponse:
    assert request.transport is not None
    if reply.how == "whole":
        text = reply.text
        kind = "text/html" if text.lstrip().startswith("<") else "application/json"
        return web.Response(body=text.encode(), status=reply.status, headers={"Content-Type": kind, **reply.headers})
    if reply.how == "closed":
        request.transport.abort()
        return web.Response()
    if reply.how == "hang":
        await asyncio.Event().wait()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100000"})
    await response.prepare(request)
    await response.write(reply.text.encode()[:CUT_BYTES])
    while reply.how == "drip":
        await asyncio.sleep(1.0)
        await response.write(b" ")
    request.transport.abort()
    return response


@asynccontextmanager
async def mocking(respond: Respond) -> AsyncIterator[Mock]:
    """A mock on loopback."""
    mock = Mock(respond)
    # Without an application, requests to a proxy, which name no path, arrive too.
    runner = web.ServerRunner(web.Server(mock.serve, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await mock.listen(runner)
    try:
        yield mock
    finally:
        await runner.cleanup()
