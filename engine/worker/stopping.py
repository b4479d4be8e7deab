"""Stops the work by hand: at once, or once the calls in flight, which are paid for, are answered."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from engine.service.client import Client

AGAIN_S = 1.0
"""Requests that follow the first one so soon, in seconds, belong to it: `timeout` signals a process and its group."""

FAILS_S = 5.0
"""How long work that has failed may take to end."""


class Stop:
    """The stop of a worker's work; the first request waits for calls in flight, another one drops them.

    `gate` is what new calls and stages wait for.
    """

    def __init__(self, gate: asyncio.Event) -> None:
        self._gate = gate
        self._requested: float | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def requested(self) -> bool:
        return self._requested is not None

    def request(self, work: asyncio.Task[Any], client: Client | None, *, now: bool) -> None:
        """Cancel `work` once the calls in flight are done; with `now`, or when asked again, without them."""
        asked = time.monotonic()
        again = self._requested is not None and asked - self._requested > AGAIN_S
        if client is not None and (now or again):
            client.drop()
        if self._requested is None:
            self._requested = asked
            self._gate.clear()
            self._ending = asyncio.create_task(_end(work, client))


async def _end(work: asyncio.Task[Any], client: Client | None) -> None:
    if client is not None:
        await client.drain()
    if client is not None and client.failed:  # it ends by itself, and tells the cause
        await asyncio.wait([work], timeout=FAILS_S)
    work.cancel()
