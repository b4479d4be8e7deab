"""Which side answers a chat, in which order, and what makes the other one answer: the modes, in one place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec.structs import replace

from engine.protocol.takeover import DoorState, Mode, Side
from engine.takeover import chat
from engine.takeover.checks import Checks
from engine.takeover.journal import Entry
from engine.takeover.sides import Answering, Asked, OutError, Reply, UnreachedError

Chat = Mapping[str, Any]


LAST_S = 600.0
"""Seconds for an answer, at least, where no other side can be asked: as long as OpenAI's client waits by itself."""

ASKED_FOR = "asked for"
"""Why a side answers that the client names."""


class Order(NamedTuple):
    """The side that is asked first, the one that is asked where that fails, and why."""

    first: Side
    second: Side | None
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply whose first bytes are there, the side that gave it, and why that side."""

    reply: Reply
    side: Side
    reason: str


class UnsureError(OutError):
    """The local model answered, but the answer may not be given while the service can answer."""

    def __init__(self, reason: str, reply: Reply) -> None:
        super().__init__(reason)
        self.reply = reply


def order(state: DoorState, lot: float, only_service: str, wanted: Side | None = None) -> Order:
    """The order for a request: `lot`, 0 to 1, draws the canary's share; `only_service` says why not the local model.

    A client that tries both sides says which one is `wanted`.
    """
    mode = state.mode
    if wanted is not None:
        return Order(wanted, None, ASKED_FOR)
    if mode is Mode.LOCAL_ONLY:
        return Order(Side.LOCAL, None, "local-only")
    backed = Side.LOCAL if mode in (Mode.LOCAL_FIRST, Mode.FALLBACK) and not only_service else None
    if state.rolled_back or state.paused:
        return Order(Side.SERVICE, backed, "rolled back" if state.rolled_back else "paused")
    if only_service:
        return Order(Side.SERVICE, None, only_service)
    if mode is Mode.LOCAL_FIRST:
        return Order(Side.LOCAL, Side.SERVICE, "local-first")
    if mode is Mode.CANARY and lot < state.share:
        return Order(Side.LOCAL, Side.SERVICE, "canary")
    return Order(Side.SERVICE, backed, mode.value)


class Answerer:
    """Asks the sides in an order. `local_model` is the model's name at its server."""

    def __init__(
        self, service: Answering | None, local: Answering, checks: Checks, local_model: str, timeout_s: float
    ) -> None:
        self._service, self._local, self._checks = service, local, checks
        self._local_model, self._timeout_s = local_model, timeout_s

    async def answer(self, asked: Asked, request: Chat, entry: Entry, how: Order) -> Answer:
        """The first answer that may be given. Raises OutError, with the reasons of both sides, where there is none.

        An unsure local answer is given all the same where the service is out: it is better than none. For the same
        reason a side that could not be reached is asked again where the other one cannot answer: it may be back.
        """
        try:
            return Answer(await self._ask(how.first, asked, request, entry, how.second is None), how.first, how.reason)
        except OutError as failed:
            if how.second is None:
                raise
            why = f"{how.first.value} {failed}" if how.first is Side.SERVICE else f"local: {failed}"
            unsure = failed.reply if isinstance(failed, UnsureError) else None
            unreached = isinstance(failed, UnreachedError)
        try:
            return Answer(await self._ask(how.second, asked, request, entry, unsure is None), how.second, why)
        except OutError as also:
            if unsure is not None:
                return Answer(unsure, Side.LOCAL, f"{why}; the service is out: {also}")
            if unreached:
                reason = f"{how.second.value} {also}"
                with suppress(OutError):
                    return Answer(await self._ask(how.first, asked, request, entry, True), how.first, reason)
            raise OutError(f"{why}; {how.second.value}: {also}") from None

    async def service_alone(self, asked: Asked) -> Reply:
        """The service's reply to a request that no other side can answer. Raises OutError."""
        return await self.service(replace(asked, last=True, timeout_s=max(asked.timeout_s, LAST_S)))

    async def service(self, asked: Asked) -> Reply:
        """What the service makes of any request. Raises OutError."""
        if self._service is None:
            raise OutError("there is no service")
        return await self._service.ask(asked)

    async def local_whole(self, asked: Asked, request: Chat) -> Reply:
        """The local model's whole reply, for a comparison. Raises OutError."""
        body = chat.for_local(request, self._local_model, whole=True)
        return _good(await self._local.ask(replace(asked, body=body, stream=False, timeout_s=self._timeout_s)))

    async def service_whole(self, asked: Asked, request: Chat) -> Reply:
        """The service's whole reply, for a comparison. Raises OutError."""
        return _good(await self.service(replace(asked, body=chat.without_stream(request), stream=False)))

    async def _ask(self, side: Side, asked: Asked, request: Chat, entry: Entry, last: bool) -> Reply:
        """A side's reply; where it is the `last` that is asked, also one that says that the side is out."""
        asked = replace(asked, last=last, timeout_s=max(self._timeout_s, LAST_S) if last else self._timeout_s)
        began = time.monotonic()
        try:
            if side is Side.SERVICE:
                reply = await self.service(asked)
                return reply if last else _unless_out(reply)
            return await self._ask_local(asked, request, entry, last)
        except chat.UNREADABLE as error:
            raise OutError(f"its reply cannot be read ({type(error).__name__})") from None
        finally:
            took = round(time.monotonic() - began, 6)
            if side is Side.SERVICE:
                entry.service_s = took
            else:
                entry.local_s = took

    async def _ask_local(self, asked: Asked, request: Chat, entry: Entry, last: bool) -> Reply:
        """The local model's reply; where it must be checked, all of it is there before any of it is sent."""
        if not self._checks.any:
            body = chat.for_local(request, self._local_model, whole=False)
            reply = await self._local.ask(replace(asked, body=body))
            return reply if last else _good(reply)
        checks = self._checks
        body = chat.for_local(
            request, self._local_model, whole=True, logprobs=checks.logprobs, temperature=checks.temperature
        )
        whole = replace(asked, body=body, stream=False)
        first, *others = await asyncio.gather(*(self._local.ask(whole) for _ in range(checks.samples)))
        if last and first.status != 200:
            return first
        read = chat.read_reply(_good(first).body)
        if read is None:
            raise OutError("its reply is no chat completion")
        more = [one for one in (chat.read_reply(other.body) for other in others) if one is not None]
        checked = checks.check(read, more)
        entry.confidence = checked.confidence
        reply = self._in_form(first, asked, request)
        if checked.reason and not last:
            raise UnsureError(checked.reason, reply)
        return reply

    def _in_form(self, reply: Reply, asked: Asked, request: Chat) -> Reply:
        """A whole reply in the form that the client asked for."""
        body = reply.body
        if self._checks.logprobs and not request.get("logprobs"):
            body = chat.without_logprobs(body)
        headers = reply.headers.copy()
        if asked.stream:
            options = request.get("stream_options")
            body = chat.as_stream(body, usage=isinstance(options, dict) and bool(options.get("include_usage")))
            headers["Content-Type"] = "text/event-stream; charset=utf-8"
        return replace(reply, body=body, headers=headers)


def _unless_out(reply: Reply) -> Reply:
    """The service's reply. Raises OutError where it says that the service is out, rather than the request wrong."""
    if reply.failed:
        raise OutError(f"answered with status {reply.status}")
    if reply.status == 200 and chat.is_error(reply.body):
        raise OutError("answered with an error in a 200")
    if reply.status < 400 and not chat.is_answer(reply.body, streamed=reply.rest is not None):
        raise OutError("its reply is no chat completion")
    return reply


def _good(reply: Reply) -> Reply:
    """A reply that is an answer. Raises OutError for any other: the other side may do better with the request."""
    if reply.status != 200:
        raise OutError(f"answered with status {reply.status}")
    return _unless_out(reply)
