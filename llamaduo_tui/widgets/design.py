"""The design of a screen for its terminal's size, from its first frame on."""

from __future__ import annotations

from typing import Any

from textual.screen import Screen


def fit(screen: Screen[Any]) -> None:
    """Give a screen the classes of its breakpoints, before it is composed.

    Textual does that with the first resize, which comes after the first frame: on a busy machine, or over a slow line,
    that one would be seen.
    """
    width, height = screen.app.size
    for length, breakpoints in ((width, screen.HORIZONTAL_BREAKPOINTS), (height, screen.VERTICAL_BREAKPOINTS)):
        reached = [one for one in sorted(breakpoints or []) if length >= one[0]]
        for _, name in reached[-1:]:
            screen.add_class(name)
