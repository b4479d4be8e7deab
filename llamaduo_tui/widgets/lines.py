"""Text that is wrapped in advance and drawn line by line when it is visible: a megabyte scrolls like a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual
from textual.widget import Widget

EDGES = 6
"""Cells of a border that are not for its text: the corners, what stands next to them, and a space on each side."""


def hung(name: str, text: Content, width: int, label: int, style: str) -> Iterator[Content]:
    """A name in `label` cells and its text, wrapped next to it in `width` cells in all."""
    for number, line in enumerate(text.wrap(max(1, width - label))):
        yield Content.assemble((f"{'' if number else name:<{label}}", style), line.rstrip())


def fitting(parts: Sequence[str], joint: str, room: int) -> int:
    """How many of the parts, in their order, fit in `room` cells next to each other; the last leaves room for "…"."""
    end = count = 0
    for part in parts:
        end += cell_len(part) + (cell_len(joint) if count else 0)
        if end + (0 if count + 1 == len(parts) else cell_len(joint) + 1) > room:
            break
        count += 1
    return count


class Lines(Widget):
    """Lines that fit the width, one a row; they can be selected."""

    DEFAULT_CSS = "Lines { height: auto; }"

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.lines: Sequence[Content] = ()

    def set_lines(self, lines: Sequence[Content]) -> None:
        """Show these lines."""
        self.lines = lines
        self.refresh(layout=True)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(1, len(self.lines))

    def render_line(self, y: int) -> Strip:
        width, style = self.content_size.width, self.visual_style
        if y >= len(self.lines):
            return Strip.blank(width, style.rich_style)
        line = self.lines[y]
        selected = self.text_selection.get_span(y) if self.text_selection else None
        if selected is not None:
            start, end = selected
            marked = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            line = line.stylize(marked, start, len(line) if end == -1 else end)
        strips = Visual.to_strips(self, line, width, 1, style, apply_selection=False)
        return strips[0].apply_offsets(0, y) if strips else Strip.blank(width, style.rich_style)

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(line.plain for line in self.lines)), "\n"


class WrappedText(Lines):
    """A text that is wrapped to the width of the widget."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._text = Content("")

    def show(self, text: Content) -> None:
        """Show another text."""
        self._text = text
        self._wrap()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._wrap)  # at once, Textual would keep the height of the lines before

    def _wrap(self) -> None:
        if self.content_size.width > 0:
            self.set_lines(self.fitted(self._text.wrap(self.content_size.width)))

    def fitted(self, lines: Sequence[Content]) -> Sequence[Content]:
        """The lines to show."""
        return lines


class FoldedText(WrappedText):
    """A text that leaves room for what is below it: of many lines, those from a place on are shown."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._most, self._place = 0, ""
        self.folded = False

    def fold(self, most: int, place: str = "") -> None:
        """Show at most so many lines, all of them where it is 0; they begin with the line that has this text."""
        if (most, place) != (self._most, self._place):
            self._most, self._place = most, place
            self._wrap()

    def fitted(self, lines: Sequence[Content]) -> Sequence[Content]:
        self.folded = 0 < self._most < len(lines)
        if not self.folded:
            return lines
        room = self._most - 1
        found = next((at for at, line in enumerate(lines) if self._place and self._place in line.plain), 0)
        at = min(found, len(lines) - room)
        said = Content.styled(f"⋯ {len(lines) - room:,} of {len(lines):,} lines are left out", "$text-warning")
        return [*lines[at : at + room], said]
