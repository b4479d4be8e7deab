"""The sandbox as an OpenAI-compatible HTTP endpoint; every response names itself a sandbox."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from engine.sandbox.completions import Completion, complete, last_known
from engine.sandbox.faults import BODY_KINDS, CONNECTION_KINDS, STATUS_KINDS, Faults, spoil
from engine.sandbox.journal import Journal
from engine.sandbox.limits import Limits
from engine.settings.schema import SANDBOX_MODEL

MAX_BODY = 4 * 1024 * 1024
ERROR_TYPES = {401: "invalid_request_error", 404: "invalid_request_error", 429: "rate_limit_exceeded"}
LOCAL = ("127.0.0.1", "localhost", "::1")
MARK = {"Server": "llamaduo-sandbox", "x-sandbox": "llamaduo"}


@dataclass(frozen=True, slots=True)
class Settings:
    """How the sandbox behaves: limits a minute, seconds before each response, a fault spec, and its log."""

    rpm: int | None = None
    tpm: int | None = None
    latency: float = 0.0
    faults: str = ""
    log: Path | None = None


class Chat(NamedTuple):
    """A checked request: the last user message, the tokens of all messages, and the SHA-256 of the canonical body."""

    prompt: str
    tokens: int
    digest: str


class BadRequestError(Exception):
    """An invalid chat request; the message goes to the client."""


def create_app(settings: Settings) -> web.Application:
    """The application; raises InputError for a bad fault spec or a log that is something else."""
    sandbox = Sandbox(settings)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[errors_as_openai, only_from_here])
    app.router.add_post("/v1/chat/completions", sandbox.chat)
    app.router.add_get("/v1/models", sandbox.models)
    app.router.add_get("/stats", sandbox.stats)
    app.on_response_prepare.append(mark_as_sandbox)
    return app


class Sandbox:
    """The handlers, with their limits, faults and log."""

    def __init__(self, settings: Settings) -> None:
        self._latency = settings.latency
        self._limits = Limits(settings.rpm, settings.tpm)
        self._faults = Faults.parse(settings.faults)
        self._journal = Journal(settings.log)

    async def models(self, _request: web.Request) -> web.Response:
        """GET /v1/models: the one model."""
        model = {
            "id": SANDBOX_MODEL,
            "object": "model",
            "created": 0,
            "owned_by": "llamaduo-sandbox (not a language model)",
        }
        return web.json_response({"object": "list", "data": [model]})

    async def stats(self, _request: web.Request) -> web.Response:
        """GET /stats: the journal's counts."""
        return web.json_response(self._journal.stats())

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions: one completion, a refusal beyond the limits, or a fault."""
        try:
            chat = read_chat(await request.read())
        except BadRequestError as problem:
            return error_response(400, str(problem))
        completion = complete(chat.prompt)

        wait = self._limits.admit(chat.tokens, time.monotonic())
        if wait > 0:
            self._journal.record("asked", chat.digest, completion.task, 429)
            response = error_response(429, STATUS_KINDS["429"], {**retry_headers(wait), **self._limits.headers()})
            return await self._send(request, response, chat, completion)

        fault = self._faults.choose(chat.digest)
        status = int(fault) if fault in STATUS_KINDS else None if fault in CONNECTION_KINDS else 200
        self._journal.record("asked", chat.digest, completion.task, status, fault)
        await asyncio.sleep(self._latency)
        if fault == "timeout":
            # Ends when the client leaves or the server stops: both cancel the handler.
            await asyncio.Event().wait()
        if fault in STATUS_KINDS:
            response = error_response(int(fault), STATUS_KINDS[fault], retry_headers(1.0) if fault == "429" else {})
            return await self._send(request, response, chat, completion, fault)

        if fault in BODY_KINDS:
            error = {"message": "Provider returned error (llamaduo sandbox)", "code": 502}
            return await self._send(request, web.json_response({"error": error}), chat, completion, fault)

        if fault is not None:
            completion = spoil(fault, completion)
        body = response_body(chat, completion)
        self._limits.charge(body["usage"]["completion_tokens"])
        if fault == "reset":
            return await break_off(request, body)
        response = web.json_response(body, headers=self._limits.headers())
        return await self._send(request, response, chat, completion, fault)

    async def _send(
        self, request: web.Request, response: web.Response, chat: Chat, completion: Completion, fault: str | None = None
    ) -> web.Response:
        await response.prepare(request)
        await response.write_eof()
        self._journal.record("answered", chat.digest, completion.task, response.status, fault)
        return response


def read_chat(body: bytes) -> Chat:
    """Check a request's body. Raises BadRequestError."""
    try:
        value = json.loads(body)
        canonical = json.dumps(value, sort_keys=True)
    except (ValueError, RecursionError):
        raise BadRequestError("The body is not valid JSON.") from None
    if not isinstance(value, dict) or not isinstance(value.get("model"), str):
        raise BadRequestError("The body must be a JSON object whose `model` is a string.")
    if value.get("stream"):
        raise BadRequestError("The sandbox does not stream: leave out `stream` or set it to false.")
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("`messages` must be a list with at least one message.")
    turns = [(message_role(message), message_text(message)) for message in messages]
    prompts = [text for role, text in turns if role == "user"]
    if not prompts:
        raise BadRequestError("`messages` has no message with the role `user`.")
    return Chat(
        last_known(prompts),
        sum(count_tokens(text) for _, text in turns),
        hashlib.sha256(canonical.encode()).hexdigest(),
    )


def message_role(message: Any) -> str:
    """A message's role. Raises BadRequestError."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequestError("Each message must be an object whose `role` is a string.")
    return str(message["role"])


def message_text(message: dict[str, Any]) -> str:
    """A message's text, which may come in parts. Raises BadRequestError."""
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise BadRequestError("The content of each message must be a string or a list of text parts.")
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise BadRequestError("The sandbox only reads text: each content part must be {type: text, text: ...}.")
    return "".join(str(text) for text in texts)


def count_tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its characters, rounded up."""
    return math.ceil(len(text) / 4)


def response_body(chat: Chat, completion: Completion) -> dict[str, Any]:
    """A chat completion as OpenAI sends it; the same for the same request except for the time."""
    completion_tokens = count_tokens(completion.text)
    return {
        "id": f"chatcmpl-sandbox-{chat.digest[:16]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": SANDBOX_MODEL,
        "system_fingerprint": "sandbox",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": completion.text},
                "logprobs": None,
                "finish_reason": completion.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": chat.tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": chat.tokens + completion_tokens,
        },
    }


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error in OpenAI's shape."""
    kind = ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
    error = {"message": f"{message} (llamaduo sandbox)", "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


def retry_headers(wait_s: float) -> dict[str, str]:
    """When to retry: Retry-After has whole seconds, so the exact time is sent too, as OpenAI sends it."""
    return {"Retry-After": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(wait_s * 1000))}


async def break_off(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Send the first half of a response, then close the connection."""
    content = json.dumps(body).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(content)), "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


@web.middleware
async def errors_as_openai(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn the server's own errors, such as an unknown path or a body too large, into OpenAI's shape."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        known = "use POST /v1/chat/completions, GET /v1/models or GET /stats"
        return error_response(error.status, f"{error.reason}: {known}" if error.status == 404 else error.reason)


@web.middleware
async def only_from_here(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse what a web page in a browser of this machine may send: a foreign name or origin, a form as a request."""
    if not _is_local(f"//{request.host}") or not _is_local(request.headers.get("Origin", "//localhost")):
        raise web.HTTPForbidden(reason="The sandbox only answers programs of this machine")
    if request.method == "POST" and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="The body must be application/json")
    return await handler(request)


def _is_local(address: str) -> bool:
    try:
        return urlsplit(address).hostname in LOCAL
    except ValueError:
        return False


async def mark_as_sandbox(_request: web.Request, response: web.StreamResponse) -> None:
    """Name the sandbox in every response's headers."""
    response.headers.update(MARK)
