"""A log whose lines show where they go on beyond an edge."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widgets import Log

MARK = "…"


class CutLog(Log):
    """Marks a line that is longer than there is room, at each edge that cuts it."""

    def _render_line(self, y: int, scroll_x: int, width: int) -> Strip:
        strip = super()._render_line(y, scroll_x, width)
        shown = min(width, self.scrollable_content_region.width)  # the scrollbar lies over the rest
        if y >= len(self.lines) or shown < 2:
            return strip
        if self._render_line_strip(y, self.rich_style).cell_length > scroll_x + shown:
            cut = [strip.crop(0, shown - 1), _mark(strip.crop(shown - 1, shown)), strip.crop(shown, width)]
            strip = Strip.join(cut)
        if scroll_x:
            strip = Strip.join([_mark(strip.crop(0, 1)), strip.crop(1, width)])
        return strip


def _mark(cell: Strip) -> Strip:
    """The mark in the style of a cell, whose place in the text stays known to a selection."""
    style = next((segment.style for segment in cell if segment.style is not None), Style())
    return Strip([Segment(MARK, style)], 1)
