"""Lines of text that follow their end until the user scrolls up, with the words that matter highlighted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.highlighter import Highlighter
from rich.text import Text

from llamaduo_tui.widgets.cut_log import CutLog

_LEVEL_WORD = re.compile(r"\b(?:warning|error|failed)\b", re.IGNORECASE)
_CLOCK = re.compile(r"^\d\d:\d\d:\d\d")


class FollowingLog(CutLog):
    """Stays at the end, whatever its size, until the user scrolls away from it; keeps its last `kept` lines."""

    def __init__(self, highlighter: Highlighter, kept: int) -> None:
        super().__init__(highlight=True, max_lines=kept)
        self.highlighter = highlighter
        self._kept_lines = kept

    @property
    def follows(self) -> bool:
        """Whether it shows the end, and is not about to leave it: Textual moves at its next frame, animated or not."""
        leaves = self.scroll_target_y < self.max_scroll_y
        return self._anchored_now or (self.is_vertical_scroll_end and not leaves)

    @property
    def _anchored_now(self) -> bool:
        return not self._anchor_released  # Textual has no public name for it

    def on_mount(self) -> None:
        self.anchor()

    def append(self, lines: Sequence[str]) -> None:
        """Add lines at the end; the visible lines stay in their place while the oldest ones are removed."""
        place, removed = self.scroll_y, len(self.lines) + len(lines) - self._kept_lines
        self.write_lines(lines)
        if removed > 0:
            self.refresh()  # where as many lines go as come, Textual believes that the end is drawn already
            if not self.follows:
                self.scroll_to(y=max(0, place - removed), animate=False, immediate=True)

    def _update_size(self, updates: int, lines: list[str]) -> None:  # type: ignore[override]
        """Measure here: Textual does so in a thread, which holds the interpreter up far longer than this takes."""
        widths = (len(line) if line.isascii() else cell_len(line) for line in lines)
        self._update_maximum_width(updates, max(widths, default=0))

    def on_resize(self) -> None:
        if self._anchored_now:  # its place may be the end at an intermediate size only
            self.scroll_end(animate=False, immediate=True, x_axis=False)


class LogHighlighter(Highlighter):
    """Dims the clock, and marks warnings, errors and the text that is searched, `wanted` in lower case."""

    def __init__(self) -> None:
        self.wanted = ""

    def highlight(self, text: Text) -> None:
        if clock := _CLOCK.match(text.plain):
            text.stylize("dim", *clock.span())
        for word in _LEVEL_WORD.finditer(text.plain):
            text.stylize("bold", *word.span())
        start = text.plain.casefold().find(self.wanted) if self.wanted else -1
        while start >= 0:
            text.stylize("reverse", start, start + len(self.wanted))
            start = text.plain.casefold().find(self.wanted, start + len(self.wanted))
