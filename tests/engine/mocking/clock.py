"""A clock that jumps over waiting: hours of backoff and outage take as long as the work between them."""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")

GRACE_S = 0.002
"""Real seconds in which something may still arrive over loopback, or from another thread, before the clock jumps."""

MONOTONIC, TIME = time.monotonic, time.time


class Clock:
    """The real clocks and what was jumped over; `busy` counts the work that other threads have not finished."""

    def __init__(self) -> None:
        self.jumped = 0.0
        self.busy = 0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return MONOTONIC() + self.jumped

    def time(self) -> float:
        return TIME() + self.jumped

    def submitting(self, submit: Any) -> Any:
        """`ThreadPoolExecutor.submit` that counts."""

        def counted(pool: ThreadPoolExecutor, /, *args: Any, **kwargs: Any) -> Future[Any]:
            with self._lock:
                self.busy += 1
            try:
                future: Future[Any] = submit(pool, *args, **kwargs)
            except BaseException:
                self._done(None)
                raise
            future.add_done_callback(self._done)
            return future

        return counted

    def _done(self, _: object) -> None:
        with self._lock:
            self.busy -= 1


class JumpingSelector(selectors.DefaultSelector):
    """Returns at once, with the clock moved on, where a loop would only wait for a timer."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        while not ready and self._clock.busy:
            ready = super().select(GRACE_S)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)
        ready = super().select(min(GRACE_S, timeout))
        if not ready:
            self._clock.jumped += timeout
        return ready


CLOCK = Clock()
"""One for the process, so that time never goes backwards for what outlives an event loop."""


@contextmanager
def jumping() -> Iterator[Clock]:
    """`time.time`, `time.monotonic` and the clocks of new event loops jump over waiting."""
    with (
        patch.object(time, "monotonic", CLOCK.monotonic),
        patch.object(time, "time", CLOCK.time),
        patch.object(ThreadPoolExecutor, "submit", CLOCK.submitting(ThreadPoolExecutor.submit)),
    ):
        yield CLOCK


def run(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` without waiting."""
    with jumping(), asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(JumpingSelector(CLOCK))) as runner:
        return runner.run(work)
