"""Reading JSONL files for a list: what one reader does to the process must not reach the others."""

from __future__ import annotations

import gc
import threading

from llamaduo_tui.views.jsonl_index import gc_paused


def test_the_collector_stays_off_until_the_last_reader_is_done() -> None:
    inside, leave = threading.Event(), threading.Event()

    def read() -> None:
        with gc_paused():
            inside.set()
            leave.wait()

    long = threading.Thread(target=read)
    long.start()
    inside.wait()
    with gc_paused():
        assert not gc.isenabled()
    assert not gc.isenabled(), "another reader is still inside"
    leave.set()
    long.join()
    assert gc.isenabled()


def test_a_reader_that_fails_turns_the_collector_on_again() -> None:
    try:
        with gc_paused():
            raise OSError
    except OSError:
        pass
    assert gc.isenabled()
