from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.local.time_limit import TimeLimitError, time_limit


def loop(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_loop_ends_in_any_thread() -> None:
    def limited() -> bool:
        with pytest.raises(TimeLimitError), time_limit(0.2):
            loop(60)
        return True

    assert limited()
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda _: limited(), range(2))) == [True, True]
    assert sum(thread.name == "time limit" for thread in threading.enumerate()) == 1


def test_what_ends_in_time_is_left_alone() -> None:
    with time_limit(0.3):
        loop(0.05)
    loop(0.5)  # no error comes late
    with pytest.raises(ZeroDivisionError), time_limit(0.3):
        _ = 1 / 0
    with time_limit(30), pytest.raises(TimeLimitError), time_limit(0.1):
        loop(60)
