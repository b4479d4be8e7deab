"""Two servers with OpenAI's API on loopback, the service and the local model's, and a door in front of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from engine.protocol.connections import Connections
from engine.protocol.run_dir import Run, create
from engine.protocol.takeover import DoorSettings, Mode, TakeoverFiles
from engine.takeover import journal
from engine.takeover.door import Door, Parts
from engine.takeover.setup import begin, parts_of

SETTINGS = """
[task.contract]
{contract}
[coverage]
source = "rows.jsonl"
[service]
model = "{model}"
api_base = "{base}"
api_key_env = "SERVICE_TEST_KEY"
input_price = 1.0
output_price = 2.0
patience_s = 0
"""
KEY = "sk-service-0123456789"


@dataclass
class Side:
    """A server whose answers say its name; `fault` changes them, `scores` are what it gives as a judge."""

    name: str
    text: str = ""
    fault: str = ""
    logprob: float = -0.1
    scores: dict[str, int] = field(default_factory=dict)
    seen: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    base: str = ""
    delay_s: float = 0.0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, body in self.seen]

    def app(self) -> web.Application:
        @web.middleware
        async def noted(request: web.Request, handler: Any) -> Any:
            self.requests.append((f"{request.method} {request.raw_path}", dict(request.headers)))
            return await handler(request)

        app = web.Application(middlewares=[noted])
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/embeddings", self.embeddings)
        return app

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.name, "extra": 1}]})

    async def embeddings(self, request: web.Request) -> web.Response:
        return web.json_response({"echo": await request.json(), "query": request.query_string})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append((dict(request.headers), body))
        await asyncio.sleep(self.delay_s)
        if self.fault == "hang":
            await asyncio.sleep(60)
        if self.fault.isdecimal():
            return web.json_response({"error": {"message": "no", "type": "x"}}, status=int(self.fault))
        if self.fault == "error200":
            return web.json_response({"error": {"message": "no", "code": 502}})
        if self.fault == "half" and request.transport is not None:
            response = web.StreamResponse(headers={"Content-Length": "999", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"id": "x"')
            request.transport.close()
            return response
        prompt = body["messages"][-1]["content"]
        judged = [score for text, score in self.scores.items() if f"\n{text}\n" in str(prompt)]
        text = self.text or f"{self.name} answers"
        if judged:
            text = json.dumps({"precision_assessment": {"score": judged[0], "reason": "so"}})
        if body.get("stream"):
            return await self.stream(request, text)
        return web.Response(
            body=json.dumps(self.reply(text, body)).encode(), headers={"X-Kept": "yes"}, content_type="application/json"
        )

    def reply(self, text: str, body: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text, "unknown": [1]}
        finish = "stop"
        if body.get("tools"):
            call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
            message, finish = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
        tokens = [{"token": "t", "logprob": self.logprob, "bytes": None, "top_logprobs": []}]
        logprobs = {"content": tokens} if body.get("logprobs") else None
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": logprobs}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return {
            "id": f"id-{self.name}",
            "object": "chat.completion",
            "created": 1,
            "model": self.name,
            "choices": [choice],
            "usage": usage,
            "odd field": {"kept": True},
        }

    async def stream(self, request: web.Request, text: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, word in enumerate(text.split(" ")):
            delta = {"role": "assistant", "content": word if number == 0 else f" {word}"}
            chunk = {
                "id": "s",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": self.name,
                "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
            }
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            if self.fault == "break" and request.transport is not None:
                await asyncio.sleep(0.05)
                request.transport.abort()
                return response
        end = {
            "id": "s",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.name,
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        }
        await response.write(b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n")
        return response


@dataclass
class Opened:
    """A door with its sides, and a client's session."""

    base: str
    root: str
    service: Side
    local: Side
    parts: Parts
    door: Door
    at: TakeoverFiles
    session: aiohttp.ClientSession
    servers: dict[str, TestServer]

    @property
    def requests(self) -> list[tuple[str, dict[str, str]]]:
        """The lines and headers of all requests that the service got."""
        return self.service.requests

    async def ask(self, content: Any = "hello", *, headers: dict[str, str] | None = None, **more: Any) -> Any:
        """The status, the headers and the body of a chat."""
        body = {"model": "gpt-big", "messages": [{"role": "user", "content": content}], **more}
        async with self.session.post(f"{self.base}/chat/completions", json=body, headers=headers) as response:
            return response.status, response.headers, await response.read()

    def rows(self, columns: str) -> list[tuple[Any, ...]]:
        return journal.rows(self.at.journal, f"SELECT {columns} FROM requests ORDER BY id")


def made_run(folder: Path, base: str, contract: str = "", model: str = "openai/gpt-big") -> Run:
    return create(folder, "demo", SETTINGS.format(base=base, contract=contract, model=model))


def door_settings(local: str, **changes: Any) -> DoorSettings:
    settings = DoorSettings(
        host="127.0.0.1",
        port=0,
        key_env=None,
        local=local,
        local_model="small",
        timeout_s=2.0,
        compare=0.0,
        margin=2.0,
        budget_usd=None,
        contents=False,
        input_usd=1e-6,
        output_usd=2e-6,
    )
    return replace(settings, **changes)


@asynccontextmanager
async def door(
    folder: Path,
    mode: Mode,
    *,
    contract: str = "",
    model: str = "openai/gpt-big",
    service: Side | None = None,
    local: Side | None = None,
    local_base: str = "",
    **changes: Any,
) -> AsyncIterator[Opened]:
    service, local = service or Side("service"), local or Side("local")
    servers = {side.name: TestServer(side.app()) for side in (service, local)}
    for side in (service, local):
        await servers[side.name].start_server()
        side.base = str(servers[side.name].make_url("/v1"))
    run = made_run(folder, service.base, contract, model)
    settings = door_settings(local_base or local.base, **changes)
    at = begin(run, settings, mode)
    async with parts_of(run, at, settings, mode) as parts:
        await parts.standing.resume()
        made = Door(parts, Connections(1000))
        server = TestServer(made.app())
        await server.start_server()
        async with aiohttp.ClientSession() as session:
            root = str(server.make_url("")).rstrip("/")
            yield Opened(f"{root}/v1", root, service, local, parts, made, at, session, servers)
        await server.close()
        await parts.pairing.drain(5.0)
        if parts.comparer is not None:
            await parts.comparer.drain(5.0)
    for one in servers.values():
        await one.close()
