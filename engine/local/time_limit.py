"""A limit on the time of code that strangers wrote and that runs in this thread: chat templates may loop for ever.

A thread beside it counts, and raises an error in it. So no process is needed, whose start would take longer than what
it does, and it works in any thread. It reaches what runs as Python, as templates do; a single step in C it cannot end.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK_S = 0.1
LATE_S = 5.0


class TimeLimitError(Exception):
    """The code took too long."""


class _Watch:
    """One piece of code at work: what is left of its time counts down only while this process runs.

    A clock would go on while the run is paused.
    """

    def __init__(self, seconds: float) -> None:
        self.thread = threading.get_ident()
        self.ticks = max(1, round(seconds / TICK_S))


_lock = threading.Lock()
_watched: set[_Watch] = set()
_some = threading.Event()
_counter: threading.Thread | None = None


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimitError in the code within, once it has taken so many seconds."""
    watch = _Watch(seconds)
    with _lock:
        _start_counter()
        _watched.add(watch)
        _some.set()
    came = False
    try:
        yield
    except TimeLimitError:
        came = True
        raise
    finally:
        with _lock:
            in_time = watch in _watched
            _watched.discard(watch)
        end = time.monotonic() + LATE_S
        while not in_time and not came and time.monotonic() < end:
            time.sleep(0.001)  # the error was sent as the code ended: it comes here, and not in what follows


def _start_counter() -> None:
    global _counter
    if _counter is None or not _counter.is_alive():
        _counter = threading.Thread(target=_count, name="time limit", daemon=True)
        _counter.start()


def _count() -> None:
    while True:
        _some.wait()
        time.sleep(TICK_S)
        with _lock:
            for watch in list(_watched):
                watch.ticks -= 1
                if watch.ticks <= 0:
                    _watched.remove(watch)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(watch.thread), ctypes.py_object(TimeLimitError)
                    )
            if not _watched:
                _some.clear()
