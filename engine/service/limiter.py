"""Stay within requests and tokens a minute: wait before asking instead of being refused after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Bucket:
    """A token bucket that refills continuously and holds one second's worth (at least one request)."""

    def __init__(self, per_minute: float) -> None:
        self._rate = per_minute / 60.0
        self._size = max(1.0, self._rate)
        self._level = self._size
        self._filled = time.monotonic()

    def seconds_until(self, amount: float) -> float:
        """How long until `amount` may be taken; more than the bucket holds waits for a full one."""
        now = time.monotonic()
        self._level = min(self._size, self._level + (now - self._filled) * self._rate)
        self._filled = now
        return max(0.0, (min(amount, self._size) - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take `amount`, or give it back if negative; below zero the bucket has to recover before the next call."""
        self._level -= amount


class Limiter:
    """One for all calls that share a key: bounds rate and calls in flight, and pauses when told to."""

    def __init__(self, rpm: int | None, tpm: int | None, concurrency: int) -> None:
        self._requests = Bucket(rpm) if rpm else None
        self._tokens = Bucket(tpm) if tpm else None
        self._slots = asyncio.Semaphore(concurrency)
        self._turn = asyncio.Lock()
        self._resume_at = 0.0

    def pause(self, seconds: float) -> None:
        """Start no call for a while: the service asked for it."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the places for calls in flight; callers are served in order."""
        async with self._slots:
            yield

    async def turn(self, tokens: int) -> None:
        """Wait until a request of about `tokens` tokens may be sent."""
        async with self._turn:
            while (wait := self._wait(tokens)) > 0:  # noqa: ASYNC110 - time passes, no event is set
                await asyncio.sleep(wait)
            if self._requests:
                self._requests.take(1)
            if self._tokens:
                self._tokens.take(tokens)

    def correct(self, tokens: int) -> None:
        """Book what a request took more (or less) than was announced: its answer, above all."""
        if self._tokens:
            self._tokens.take(tokens)

    def _wait(self, tokens: int) -> float:
        waits = [self._resume_at - time.monotonic()]
        if self._requests:
            waits.append(self._requests.seconds_until(1))
        if self._tokens:
            waits.append(self._tokens.seconds_until(tokens))
        return max(waits)
