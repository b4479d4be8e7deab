"""Reading JSONL files for a list: what one reader does to the process must not reach the others."""

from __future__ import annotations

import gc
import threading

from llamaduo_tui.views.jsonl_index import MANY_OBJECTS, gc_paused


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


def test_many_new_objects_are_gone_through_once() -> None:
    with gc_paused():
        read = [[n] for n in range(MANY_OBJECTS + 1)]
    assert any(one is read[0] for one in gc.get_objects(generation=2))
