"""The door: the service's API on one address. Each request is let in, journaled, answered by a side, and journaled."""

from __future__ import annotations

import asyncio
import random
from asyncio import wrap_future
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict

from engine.protocol.connections import Connections
from engine.protocol.server_log import place_of
from engine.protocol.takeover import CHAT_PATH, DoorSettings, Mode, Side
from engine.takeover import chat
from engine.takeover.answering import Answer, Answerer, order
from engine.takeover.chat import Json
from engine.takeover.comparing import Comparer
from engine.takeover.guard import Guard, Refused, client_id, not_passed, path_of
from engine.takeover.journal import Entry, Journal, Outcome
from engine.takeover.metrics import Metrics
from engine.takeover.pairing import Pairing
from engine.takeover.pricing import Prices
from engine.takeover.sides import METHODS, Asked, OutError, Reply
from engine.takeover.standing import Standing

MOST_BODY = 32 * 2**20
"""Bytes of a request, which may hold images."""

BODY_S = 30.0
"""Seconds for a request's body to arrive."""

WRITE_S = 60.0
"""Seconds that a client may take to read a piece of a stream."""

MOST_AT_WORK = 1000
KEPT_STREAM = 4 * 2**20
"""Bytes of a stream that are kept to count and to compare it."""

KINDS = {401: "invalid_request_error", 403: "invalid_request_error", 429: "rate_limit_error"}


@dataclass(slots=True)
class Parts:
    """What a door consists of."""

    settings: DoorSettings
    guard: Guard
    answerer: Answerer
    standing: Standing
    journal: Journal
    metrics: Metrics
    prices: Prices
    pairing: Pairing
    comparer: Comparer | None
    service_name: str
    local_name: str


class Door:
    """The handlers of the web server."""

    def __init__(self, parts: Parts, connections: Connections) -> None:
        self._parts, self._connections = parts, connections
        self._dice = random.Random()
        self.draining = False

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MOST_BODY, middlewares=[self._guarded])
        app.router.add_get("/health", self.health)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post(CHAT_PATH, self.chat)
        app.router.add_route("*", "/{path:.*}", self.other)
        app.on_response_prepare.append(self._last_of_its_connection)
        return app

    async def health(self, _request: web.Request) -> web.StreamResponse:
        """GET /health, also without a key: whether the door works, and nothing else."""
        return web.json_response({"status": "ok"})

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """GET /metrics, in Prometheus' form."""
        text = self._parts.metrics.text(self._parts.standing.state)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def models(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/models: the service's list; the local model alone where the service is not asked or out."""
        if self._parts.standing.state.mode is not Mode.LOCAL_ONLY:
            try:
                reply = await self._parts.answerer.service(self._asked(request, b""))
            except OutError:
                pass
            else:
                if not reply.failed:
                    return _response(reply)
        names = dict.fromkeys((self._parts.service_name, self._parts.local_name))
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "llamaduo-tui"} for name in names]
        return web.json_response({"object": "list", "data": data})

    async def other(self, request: web.Request) -> web.StreamResponse:
        """What the service answers to, other than chats; anything else is refused, and stands so in the journal."""
        if not request.path.startswith("/v1/"):
            raise not_passed(request)
        entry = self._entry(request)
        opened = self._open(entry)
        try:
            asked = self._asked(request, await _body(request))
            if self._parts.standing.state.mode is Mode.LOCAL_ONLY:
                raise Refused(404, "Only chats are answered: the door is in the mode local-only.", "unknown_url")
            try:
                reply = await self._parts.answerer.service_alone(asked)
            except OutError as error:
                raise Refused(503, f"The service is out: {error}.", "service_out") from None
            return await self._send(request, Answer(reply, Side.SERVICE, "passed on"), entry, opened, {})
        except BaseException as error:
            await self._end_failed(entry, error)
            raise

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions, by the mode."""
        parts, entry = self._parts, self._entry(request)
        state = parts.standing.state
        opened = self._open(entry)
        try:
            body = await _body(request)
            given = _chat(body)
            entry.stream = given.get("stream") is True
            asked = self._asked(request, body, entry.stream)
            only_service = chat.needs_service(given)
            how = order(state, self._dice.random(), only_service, _wanted(request))
            paired = parts.pairing.begin(how, asked, given, state, bool(only_service), self._dice.random())
            if parts.settings.contents:
                entry.request = body.decode(errors="replace")
            try:
                answer = await parts.answerer.answer(asked, given, entry, how)
            except OutError as error:
                paired.drop()
                raise Refused(503, f"No side can answer: {error}.", "no_answer") from None
            return await self._send(request, answer, entry, opened, given, paired.finish)
        except BaseException as error:
            await self._end_failed(entry, error)
            raise

    def _entry(self, request: web.Request) -> Entry:
        mode = self._parts.standing.state.mode
        return Entry(mode=mode, path=request.path, client_id=client_id(request))

    def _open(self, entry: Entry) -> Future[None]:
        if self._parts.metrics.at_work >= MOST_AT_WORK:
            raise Refused(503, "Too many requests at once.", "overloaded")
        self._parts.metrics.at_work += 1
        return self._parts.journal.open(entry)

    def _asked(self, request: web.Request, body: bytes, stream: bool | None = None) -> Asked:
        streams = "text/event-stream" in request.headers.get("Accept", "") or b'"stream"' in body
        return Asked(
            method=request.method,
            path=path_of(request),
            headers=CIMultiDict(request.headers),
            body=body,
            stream=streams if stream is None else stream,
            timeout_s=self._parts.settings.timeout_s,
        )

    async def _send(
        self,
        request: web.Request,
        answer: Answer,
        entry: Entry,
        opened: Future[None],
        given: Json,
        finish: Callable[[Entry, Answer, bytes], None] = lambda *_: None,
    ) -> web.StreamResponse:
        """Send a reply to the client; it ends once the journal has it."""
        reply = answer.reply
        entry.answered_by, entry.reason, entry.status = answer.side, answer.reason, reply.status
        entry.first_s = round(entry.elapsed, 6)
        await wrap_future(opened)
        if reply.rest is None:
            self._account(entry, answer, given, reply.body)
            await self._close(entry, Outcome.ANSWERED)
            finish(entry, answer, reply.body)
            return _response(reply, answer.side)
        return await self._stream(request, answer, entry, given, finish)

    async def _stream(
        self,
        request: web.Request,
        answer: Answer,
        entry: Entry,
        given: Json,
        finish: Callable[[Entry, Answer, bytes], None],
    ) -> web.StreamResponse:
        """Pass a stream on as it comes; one that breaks ends with an error event, and stands so in the journal."""
        reply, rest = answer.reply, answer.reply.rest
        assert rest is not None
        response = web.StreamResponse(status=reply.status, headers=_headers(reply, answer.side))
        kept, outcome = bytearray(reply.body), Outcome.ANSWERED
        try:
            await response.prepare(request)
            await _write(response, reply.body)
            try:
                async for piece in rest:
                    if len(kept) < KEPT_STREAM:
                        kept += piece
                    await _write(response, piece)
                if given and len(kept) < KEPT_STREAM and chat.is_cut(bytes(kept)):
                    raise OutError("its stream ended before the answer did")
                if given and chat.has_error(bytes(kept)):
                    outcome = Outcome.BROKEN_OFF
                    entry.reason += f"; {answer.side.value}: its stream has an error"
            except OutError as error:
                outcome, entry.reason = Outcome.BROKEN_OFF, f"{entry.reason}; {answer.side.value}: {error}"
                said = chat.error_body("The answer broke off.", "server_error", "broken_off")
                await _write(response, b"\n\n" + chat.event(said))
        finally:
            await reply.close()
        self._account(entry, answer, given, bytes(kept))
        await self._close(entry, outcome)
        if outcome is Outcome.ANSWERED:
            finish(entry, answer, bytes(kept))
        await response.write_eof()
        return response

    def _account(self, entry: Entry, answer: Answer, given: Json, body: bytes) -> None:
        """Count the tokens of a reply, and what they cost or save."""
        if not given or answer.reply.status != 200:
            return
        read = chat.read_stream(body) if chat.is_stream(body) else chat.read_reply(body)
        self._parts.prices.account(entry, given, read)
        if self._parts.settings.contents:
            entry.reply = body.decode(errors="replace")

    async def _close(self, entry: Entry, outcome: Outcome) -> None:
        if entry.outcome is None:
            self._parts.metrics.at_work -= 1
            self._parts.metrics.count(entry, outcome)
            await self._parts.journal.close_entry(entry, outcome)

    async def _end_failed(self, entry: Entry, error: BaseException) -> None:
        """Record a request that got no whole reply, and why."""
        if isinstance(error, Refused):
            outcome = Outcome.FAILED if error.status >= 500 else Outcome.REFUSED
            entry.status, entry.reason = error.status, error.message
        elif isinstance(error, asyncio.CancelledError | ConnectionError):
            outcome, entry.reason = Outcome.LEFT, "the client left"
        else:
            outcome, entry.status, entry.reason = Outcome.FAILED, 500, f"door: {type(error).__name__}"
        await asyncio.shield(self._close(entry, outcome))

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let a request in or not, and give each error OpenAI's shape."""
        try:
            if request.path != "/health":
                self._parts.guard.admit(request)
            if request.method not in METHODS:
                raise Refused(405, "Unknown method.", "unknown_method")
            with self._connections.at_work(request.protocol):
                return await handler(request)
        except Refused as refused:
            return _error(refused.status, refused.message, refused.code)
        except web.HTTPException as error:
            return _error(error.status, f"{error.reason}.")
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - the client gets no traceback, the log its kind alone: no contents
            print(f"internal error: {type(error).__name__} in {place_of(error)}", flush=True)
            return _error(500, "The door failed; see its log.")

    async def _last_of_its_connection(self, _request: web.Request, response: web.StreamResponse) -> None:
        """A door that is about to end lets its clients open the next connection to its successor."""
        if self.draining:
            response.force_close()


async def _body(request: web.Request) -> bytes:
    """The body of a request. Raises Refused where it is too large, or comes too slowly."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise Refused(408, "The body took too long to arrive.", "timeout") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, f"A body has at most {MOST_BODY // 2**20} MB.", "too_large") from None
    except web.RequestPayloadError:
        raise Refused(400, "The body is damaged.") from None


async def _write(response: web.StreamResponse, piece: bytes) -> None:
    """Send a piece of a stream. Raises ConnectionResetError where the client does not read on: it has left."""
    try:
        async with asyncio.timeout(WRITE_S):
            await response.write(piece)
    except TimeoutError:
        raise ConnectionResetError("the client reads no more") from None


def _chat(body: bytes) -> Json:
    try:
        return chat.read_request(body)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _wanted(request: web.Request) -> Side | None:
    """The side that a client asks for, as the app does to try both."""
    return {side.value: side for side in (Side.SERVICE, Side.LOCAL)}.get(request.headers.get("x-llamaduo-side", ""))


def _headers(reply: Reply, side: Side) -> CIMultiDict[str]:
    headers = reply.headers.copy()
    headers["x-llamaduo-answered-by"] = side.value
    return headers


def _response(reply: Reply, side: Side = Side.SERVICE) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers=_headers(reply, side))


def _error(status: int, message: str, code: str | None = None) -> web.Response:
    kind = KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return web.json_response(chat.error_body(message, kind, code), status=status)
