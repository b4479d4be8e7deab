"""Two texts side by side, row against row, scrolled as one; one below the other where the terminal is narrow.

They can be shown as one column, too, with − before lines of the first and + before those of the second: what differs
then stands together. A single text takes the place of the right one, over the full width.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Markdown

from llamaduo_tui.views.diff import Line, Row, unified
from llamaduo_tui.views.text import markdown
from llamaduo_tui.widgets.lines import Lines
from llamaduo_tui.widgets.plain_markdown import PlainMarkdown

GUTTER = 2
"""Columns before a line: its mark and a space."""

CHANGED = "bold underline $text-warning"


class Side(Lines):
    """One of the two texts; the comparison wraps its lines and keeps both sides level."""

    def on_resize(self, event: events.Resize) -> None:
        if isinstance(self.parent, Comparison):
            self.call_after_refresh(self.parent.lay_out)  # at once, Textual would keep the height of the lines before


class Comparison(Container):
    """The reference and the response: as rows with marks, or rendered as Markdown."""

    DEFAULT_CSS = """
    Comparison {
        layout: horizontal;
        height: auto;
        & > Side, & > Markdown {
            width: 1fr; height: auto; min-height: 3; padding: 0 1; margin: 0;
            background: $surface; border: round $border-blurred; border-title-color: $text;
        }
        & > Side { min-height: 100%; }
        &.-stacked { layout: vertical; }
        &.-stacked > Side, &.-stacked > Markdown { width: 100%; min-height: 3; }
    }
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._rows: Sequence[Row] = ()
        self._titles: tuple[str | None, str] = (None, "")
        self._as_one: bool | None = False
        self._laid: tuple[object, ...] = ()
        self._left = Side(id="reference")
        self._right = Side(id="response")

    def compose(self) -> ComposeResult:
        yield self._left
        yield self._right

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """That of the sides without the room that they fill."""
        if self.query(Markdown):
            return super().get_content_height(container, viewport, width)
        heights = [max(1, len(side.lines)) + side.gutter.height for side in (self._left, self._right) if side.display]
        return sum(heights) if self.has_class("-stacked") else max(heights, default=0)

    @property
    def one_column(self) -> bool:
        """Whether both texts stand in one column."""
        wanted = self.has_class("-stacked") if self._as_one is None else self._as_one
        return wanted and self._titles[0] is not None

    async def show_rows(self, rows: Sequence[Row], titles: tuple[str | None, str], as_one: bool | None = False) -> None:
        """Show both sides as lines with marks; the right one alone where the left one has no title.

        `as_one` shows both in one column; None does so where they are not side by side.
        """
        await self.query(Markdown).remove()
        self._rows, self._titles, self._as_one, self._laid = rows, titles, as_one, ()
        self._show_sides()
        self.lay_out()

    def _show_sides(self) -> None:
        """Show the sides that have lines, with their titles."""
        left, right = self._titles
        if self.one_column:
            left, right = None, f"− {left}   + {right}"
        for side, title in zip((self._left, self._right), (left, right), strict=True):
            side.display = title is not None
            side.border_title = Content(title or "")

    def stack(self, stacked: bool) -> None:
        """Show the two texts one below the other, or in one column; or side by side."""
        if stacked != self.has_class("-stacked"):
            self.set_class(stacked, "-stacked")
            if not self.query(Markdown):
                self._show_sides()
                self.lay_out()

    async def show_markdown(self, texts: tuple[str, str], titles: tuple[str | None, str]) -> None:
        """Show both sides as Markdown, or the right one alone; links are shown, never opened."""
        await self.query(Markdown).remove()
        self._left.display = self._right.display = False
        for text, title in zip(texts, titles, strict=True):
            if title is None:
                continue
            rendered = PlainMarkdown(markdown(text))
            rendered.border_title = Content(title)
            await self.mount(rendered)

    def lay_out(self) -> None:
        """Wrap the rows to the widths at hand; side by side, what belongs together stays level."""
        sides = (self._left if self._left.display else self._right), self._right
        widths = sides[0].content_size.width, sides[1].content_size.width
        stacked = self.has_class("-stacked")
        one = self.one_column
        now = (widths, stacked, one, id(self._rows))
        if now == self._laid or min(widths) <= GUTTER:
            return
        self._laid = now
        if one:
            lines = [_wrapped(line, mark, widths[1]) for mark, line in unified(self._rows)]
            self._right.set_lines([line for several in lines for line in several])
            return
        left: list[Content] = []
        right: list[Content] = []
        for row in self._rows:
            a, b = _wrapped(row.left, row.mark, widths[0]), _wrapped(row.right, row.mark, widths[1])
            level = 0 if stacked or not self._left.display else max(len(a), len(b))
            left += [*a, *[Content(" ")] * (level - len(a))]
            right += [*b, *[Content(" ")] * (level - len(b))]
        self._left.set_lines(left)
        self._right.set_lines(right)


def _wrapped(line: Line | None, mark: str, width: int) -> list[Content]:
    if line is None:
        return []
    pieces = [(piece.text, CHANGED if piece.changed else "") for piece in line]
    lines = Content.assemble(*pieces).wrap(width - GUTTER) or [Content("")]
    gutters = [Content.styled(f"{mark} ", "bold $text-warning"), *[Content("  ")] * (len(lines) - 1)]
    return [gutter + text for gutter, text in zip(gutters, lines, strict=True)]
