"""A service that says what a test tells it to: an OpenAI-compatible server on loopback, the only fake there is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[["Service", web.Request], Awaitable[web.StreamResponse]]


def completion(text: Any, *, prompt_tokens: int = 10, completion_tokens: int = 5, **changes: Any) -> web.Response:
    """A chat completion, with parts of it changed."""
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
        **changes,
    }
    return web.Response(body=json.dumps(body).encode(), content_type="application/json")


def error(status: int, message: str = "no", code: str | None = None, **headers: str) -> web.Response:
    """An error in OpenAI's shape."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response({"error": {"message": message, "type": "x", "code": code}}, status=status, headers=named)


@dataclass
class Service:
    """Answers with `handler`; remembers each request's body and how many were at work at once."""

    handler: Handler
    base: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    at_work: int = 0
    most_at_work: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.bodies]

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.asked.set()
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            return await self.handler(self, request)
        finally:
            self.at_work -= 1


async def prompt_of(request: web.Request) -> str:
    """The text of a request's first message."""
    return str((await request.json())["messages"][0]["content"])


def always(*responses: Callable[[], web.StreamResponse]) -> Handler:
    """Each response once, then the last one for ever."""
    left = list(responses)

    async def handler(_service: Service, _request: web.Request) -> web.StreamResponse:
        return (left.pop(0) if len(left) > 1 else left[0])()

    return handler


async def reset(_server: Service, request: web.Request) -> web.StreamResponse:
    """Begin an answer, and cut the connection."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "900"})
    await response.prepare(request)
    await response.write(b'{"id": "chatcmpl-1", "choices": [{"mess')
    assert request.transport is not None
    request.transport.abort()
    return response


@asynccontextmanager
async def serving(handler: Handler, path: str = "/v1/chat/completions") -> AsyncIterator[Service]:
    service = Service(handler)
    app = web.Application(client_max_size=2**24)
    app.router.add_post(path, service.respond)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield service
    finally:
        await runner.cleanup()
