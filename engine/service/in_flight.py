"""The calls that a service is answering: they are paid for, so a run that ends waits for them first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.protocol.status import Stopping

POLL_S = 0.05
GRACE_S = 1.0
"""How long a reply that came at the last moment may take to be recorded."""


class CallsInFlight:
    """Counts the calls in flight, waits for them, or drops them; `dropped` is what each dropped one may cost, in USD.

    A call takes `longest_s` seconds at most. `tell` learns what a wait is for whenever that changes.
    """

    def __init__(self, longest_s: float, tell: Callable[[Stopping], None]) -> None:
        self._longest_s, self._tell = longest_s, tell
        self._sent: dict[object, float] = {}
        self._end: float | None = None
        self._told = 0
        self._dropping = False
        self.dropped: list[float] = []

    def __len__(self) -> int:
        return len(self._sent)

    @contextmanager
    def one(self) -> Iterator[None]:
        """A call is in flight as long as this is open."""
        call = object()
        self._sent[call] = time.monotonic()
        try:
            yield
        finally:
            del self._sent[call]

    async def drain(self) -> None:
        """Wait until no call is in flight, at most until the latest must have ended, or until `drop`.

        Whoever drains keeps others from being sent. All drains are one: a later one extends no wait.
        """
        if self._end is None:
            self._end = time.monotonic() + self._longest_s
        while self._sent and not self._dropping and self._left() > -GRACE_S:
            if len(self) != self._told:
                self._told = len(self)
                self._tell(Stopping(calls=len(self), until=round(time.time() + max(0.0, self._left()), 3)))
            await asyncio.sleep(POLL_S)

    def drop(self) -> None:
        """Wait for no call any more, now and later."""
        self._dropping = True

    def _left(self) -> float:
        """Seconds until the latest call must have ended; a call that is recorded late extends no wait."""
        assert self._end is not None
        return min(self._end, max(self._sent.values()) + self._longest_s) - time.monotonic()
