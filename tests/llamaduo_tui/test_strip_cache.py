"""Drawn lines go with their last user: none waits for a search of all objects."""

from __future__ import annotations

import gc
import weakref

from rich.segment import Segment
from textual.strip import Strip

from llamaduo_tui import strip_cache


class Watched(Strip):
    """A line that says when it is gone."""


def test_a_line_of_the_width_of_its_place_is_gone_at_once() -> None:
    strip_cache.leave_no_cycles()
    gc.disable()
    try:
        line = Watched([Segment("Ticket 7"), Segment(" is open")])
        assert line.crop_extend(0, 16, None) is line
        assert list(line.divide([16])) == [line]
        gone = weakref.ref(line)
        del line
        assert gone() is None
    finally:
        gc.enable()


def test_other_cuts_are_as_they_were() -> None:
    strip_cache.leave_no_cycles()
    line = Strip([Segment("Ticket 7"), Segment(" is open")])
    assert line.crop_extend(0, 18, None).text == "Ticket 7 is open  "
    assert line.crop_extend(2, 16, None).text == "cket 7 is open"
    assert [part.text for part in line.divide([6, 16])] == ["Ticket", " 7 is open"]
    assert [part.text for part in line.divide([6, 99])] == ["Ticket"]
