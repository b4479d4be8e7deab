"""Bringing both sides' answers to one request together, for a comparison: the client never waits for the second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.protocol.takeover import DoorState, Mode, Side
from engine.takeover import chat
from engine.takeover.answering import ASKED_FOR, Answer, Answerer, Order
from engine.takeover.chat import ChatReply
from engine.takeover.comparing import Comparer, Pair
from engine.takeover.journal import Entry, Journal, Outcome
from engine.takeover.pricing import Prices
from engine.takeover.sides import Asked, OutError, Reply

MOST_SHADOWS = 64
"""Requests that the second side is asked at once; beyond that the first alone answers."""

UNREACHED = ("out:", "no connection", "its name", "its certificate")
"""How a failure begins that says nothing of the quality of answers."""


@dataclass(slots=True)
class Paired:
    """The other side's answer to a request, under way; nothing where the request was not drawn."""

    finish: Callable[[Entry, Answer, bytes], None] = lambda *_: None
    _task: asyncio.Task[Any] | None = field(default=None)

    def drop(self) -> None:
        """Forget it: the request got no answer."""
        if self._task is not None:
            self._task.cancel()


class Pairing:
    """Asks the second side in the background and hands both answers to the comparer.

    In shadow the local model is asked with every request, of which the share `compare` is compared; in a canary that
    share of all requests is asked of both sides, whoever answers.
    """

    def __init__(
        self, answerer: Answerer, comparer: Comparer | None, journal: Journal, prices: Prices, compare: float
    ) -> None:
        self._answerer, self._comparer = answerer, comparer
        self._journal, self._prices, self._compare = journal, prices, compare
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(
        self, how: Order, asked: Asked, request: Mapping[str, Any], state: DoorState, only_service: bool, lot: float
    ) -> Paired:
        """Ask the other side too, where the request is drawn for that; `lot`, 0 to 1, decides."""
        comparer = self._comparer
        drawn = comparer is not None and comparer.ready and lot < self._compare
        wanted = drawn or state.mode is Mode.SHADOW
        if (
            how.reason == ASKED_FOR
            or not state.mode.compares
            or state.paused
            or state.rolled_back
            or only_service
            or not wanted
        ):
            return Paired()
        if len(self._tasks) >= MOST_SHADOWS:
            return Paired()
        began = time.monotonic()
        if how.first is Side.SERVICE:
            task = self._start(self._answerer.local_whole(asked, request))
        else:
            task = self._start(self._answerer.service_whole(asked, request))

        def finish(entry: Entry, answer: Answer, body: bytes) -> None:
            self._start(self._finish(task, began, entry, answer, body, request, drawn))

        return Paired(finish, task)

    async def drain(self, seconds: float) -> None:
        """Wait for the second answers under way, so long at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # `_finish` has seen it

    async def _finish(
        self,
        task: asyncio.Task[Reply],
        began: float,
        entry: Entry,
        answer: Answer,
        body: bytes,
        request: Mapping[str, Any],
        drawn: bool,
    ) -> None:
        """Read both answers. A canary's local answer that was replaced by the service's counts as missing."""
        other, failed = None, ""
        try:
            other = chat.read_reply((await task).body)
        except OutError as error:
            failed = str(error)
        took = round(time.monotonic() - began, 6)
        mine = _read(body) if answer.reply.status == 200 and entry.outcome is Outcome.ANSWERED else None
        asked_first = Side.SERVICE if entry.local_s is None else Side.LOCAL
        if asked_first is Side.SERVICE:
            self._journal.took(entry.key, local_s=took, note=failed)
            service, local = mine, other
        else:
            service, local = other, mine if answer.side is Side.LOCAL else None
            failed = failed if answer.side is Side.LOCAL else answer.reason.removeprefix("local: ")
            if other is not None:
                self._journal.took(entry.key, service_s=took)
                self._journal.cost(entry.key, self._cost(other))
        if not drawn or self._comparer is None or service is None:
            return
        if local is None and (not failed or failed.startswith(UNREACHED)):
            return
        self._comparer.add(Pair(entry.key, chat.prompt_of(request), service, local, failed))

    def _cost(self, reply: ChatReply) -> float:
        return self._prices.of(reply.prompt_tokens or 0, reply.completion_tokens or 0)


def _read(body: bytes) -> ChatReply | None:
    return chat.read_stream(body) if chat.is_stream(body) else chat.read_reply(body)
