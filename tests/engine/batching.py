"""OpenAI's files and batches on loopback: what a test wants done with the requests of a job, is done with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Line = dict[str, Any]
CALL = {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": '{"at": "Oslo"}'}}


def answer(request: Line) -> Line:
    """The output line of a request that is answered with an echo of its prompt."""
    said = completion("batched: " + request["body"]["messages"][0]["content"])
    return {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": said}}


def completion(text: str) -> dict[str, Any]:
    """A chat completion of 20 tokens of prompt and 50 of answer."""
    usage = {"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70}
    message: Line = {"role": "assistant", "content": text}
    if "weather" in text:
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def completed(requests: list[Line]) -> tuple[str, list[Line]]:
    """A job in which all requests are answered."""
    return "completed", [answer(request) for request in requests]


QUEUE_FULL = {
    "code": "token_limit_exceeded",
    "message": "Enqueued token limit reached for m in organization o. Limit: 90,000 enqueued tokens. "
    "Please try again once some in_progress batches have been completed.",
}


@dataclass
class Provider:
    """Ends a job when `finish` says so, with the status and the lines that it gives: replies and errors are two files.

    `refusal` answers instead of the batch and files endpoints, `direct_refusal` instead of the chat's.
    """

    base: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    direct: list[str] = field(default_factory=list)
    refusal: Callable[[web.Request], web.StreamResponse | None] = lambda _: None
    direct_refusal: Callable[[], web.StreamResponse | None] = lambda: None
    finish: Callable[[list[Line]], tuple[str, list[Line]] | None] = lambda requests: completed(requests)
    room: int | None = None
    """How many requests the queue holds; a job that finds no room fails in validation."""
    created: asyncio.Event = field(default_factory=asyncio.Event)

    def requests(self, batch: dict[str, Any]) -> list[Line]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    def sizes(self, *statuses: str) -> list[int]:
        """The sizes of the jobs in these states; of all, where none is named."""
        jobs = self.batches.values()
        return [len(self.requests(job)) for job in jobs if not statuses or job["status"] in statuses]

    def fail(self, batch: dict[str, Any], error: Line) -> None:
        batch["status"], batch["errors"] = "failed", {"object": "list", "data": [error]}

    async def upload(self, request: web.Request) -> web.StreamResponse:
        if (refused := self.refusal(request)) is not None:
            return refused
        form = await request.post()
        assert form["purpose"] == "batch"
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        return web.json_response(self.file(upload.file.read()))

    def file(self, content: bytes) -> dict[str, Any]:
        id_ = f"file-{len(self.files)}"
        self.files[id_] = content
        common = {"object": "file", "filename": "x.jsonl", "purpose": "batch", "status": "processed", "created_at": 1}
        return {"id": id_, "bytes": len(content), **common}

    async def create(self, request: web.Request) -> web.StreamResponse:
        if (refused := self.refusal(request)) is not None:
            return refused
        asked = await request.json()
        batch = {
            "id": f"batch-{len(self.batches)}",
            "object": "batch",
            "created_at": 2_000_000_000,
            "status": "in_progress",
            **asked,
        }
        size = len(self.requests(batch))
        batch["request_counts"] = {"total": size, "completed": 0, "failed": 0}
        if self.room is not None and size + sum(self.sizes("in_progress")) > self.room:
            self.fail(batch, QUEUE_FULL)
        self.batches[batch["id"]] = batch
        self.created.set()
        return web.json_response(batch)

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        if (refused := self.refusal(request)) is not None:
            return refused
        batch = self.batches[request.match_info["id"]]
        if batch["status"] == "in_progress" and (ended := self.finish(self.requests(batch))) is not None:
            batch["status"], output = ended
            for name, lines in zip(("output_file_id", "error_file_id"), _apart(output), strict=True):
                batch[name] = (
                    self.file("".join(json.dumps(line) + "\n" for line in lines).encode())["id"] if lines else None
                )
        return web.json_response(batch)

    async def list(self, request: web.Request) -> web.StreamResponse:
        latest = list(reversed(self.batches.values()))
        return web.json_response({"object": "list", "data": latest[: int(request.query["limit"])], "has_more": False})

    async def content(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.files[request.match_info["id"]])

    async def complete(self, request: web.Request) -> web.StreamResponse:
        if (refused := self.direct_refusal()) is not None:
            return refused
        prompt = (await request.json())["messages"][0]["content"]
        self.direct.append(prompt)
        return web.json_response(completion(f"direct: {prompt}"))


def _apart(lines: list[Line]) -> tuple[list[Line], list[Line]]:
    """The lines of replies, and those of errors, as OpenAI keeps them in two files."""
    failed = [
        line for line in lines if isinstance(line, dict) and line.get("response", {}).get("status_code", 200) != 200
    ]
    return [line for line in lines if line not in failed], failed


@asynccontextmanager
async def providing(**behaviour: Any) -> AsyncIterator[Provider]:
    provider = Provider(**behaviour)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/files", provider.upload)
    app.router.add_get("/v1/files/{id}/content", provider.content)
    app.router.add_post("/v1/batches", provider.create)
    app.router.add_get("/v1/batches", provider.list)
    app.router.add_get("/v1/batches/{id}", provider.retrieve)
    app.router.add_post("/v1/chat/completions", provider.complete)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield provider
    finally:
        await runner.cleanup()
