"""A list that draws only its visible rows: 300,000 rows scroll as fast as ten."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

Row = TypeVar("Row")


class RowList(ScrollView, Generic[Row], can_focus=True):
    """Rows with a cursor; its subclass draws a row, and recognises one that was read again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="prompts.up", tooltip="To the row above"),
        Binding("down,j", "move(1)", "Down", show=False, id="prompts.down", tooltip="To the row below"),
        Binding("pageup,ctrl+u", "page(-1)", "Page up", show=False, id="prompts.page_up", tooltip="A page of rows up"),
        Binding(
            "pagedown,ctrl+d", "page(1)", "Page down", show=False, id="prompts.page_down", tooltip="A page of rows down"
        ),
        Binding("home", "jump(0)", "First", show=False, id="prompts.first", tooltip="To the first row"),
        Binding("end,G", "jump(-1)", "Last", show=False, id="prompts.last", tooltip="To the last row"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "row-list--cursor",
        "row-list--good",
        "row-list--fair",
        "row-list--poor",
        "row-list--muted",
    }
    DEFAULT_CSS = """
    RowList {
        background: $surface;
        overflow-x: hidden;
        scrollbar-background: $surface;
        scrollbar-size-vertical: 1;
        & > .row-list--cursor { background: $block-cursor-blurred-background; text-style: bold; }
        &:focus > .row-list--cursor { background: $primary-muted; text-style: bold; }
        &:ansi > .row-list--cursor, &:ansi:focus > .row-list--cursor { background: ansi_bright_black; }
        & > .row-list--good { color: $text-success; }
        & > .row-list--fair { color: $text-warning; }
        & > .row-list--poor { color: $text-error; }
        & > .row-list--muted { color: $foreground-muted; }
    }
    """

    highlighted: var[int | None] = var[int | None](None, init=False)

    class Resized(Message):
        """The list has another size, so that its heading may need other columns."""

    class Chosen(Message):
        """Another row is under the cursor, or the list is empty."""

        def __init__(self, item: Any) -> None:
            super().__init__()
            self.item = item

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.items: Sequence[Row] = ()

    @abstractmethod
    def same(self, item: Row, other: Row) -> bool:
        """Whether two rows, read at different times, are the same."""

    @abstractmethod
    def cells(self, item: Row, base: Style) -> list[Segment]:
        """The cells of a row; cells that are too long are cut."""

    @property
    def chosen(self) -> Row | None:
        return None if self.highlighted is None else self.items[self.highlighted]

    def show(self, items: Sequence[Row]) -> None:
        """Show other rows, or the same in another order; the cursor stays on its row if that is still there."""
        before = self.chosen
        self.items = items
        self.virtual_size = Size(self.size.width, len(items))
        index = None
        if before is not None:
            index = next((index for index, item in enumerate(items) if self.same(item, before)), None)
        if index is None:
            index = 0 if items else None
        self.set_reactive(RowList.highlighted, index)
        self._reveal()
        self.refresh()
        if self.chosen is not before:
            self.post_message(self.Chosen(self.chosen))

    def choose(self, index: int) -> None:
        """Put the cursor on a row."""
        self.highlighted = index

    def watch_highlighted(self) -> None:
        self._reveal()
        self.refresh()
        self.post_message(self.Chosen(self.chosen))

    def validate_highlighted(self, index: int | None) -> int | None:
        return None if index is None or not self.items else max(0, min(index, len(self.items) - 1))

    def on_resize(self, event: events.Resize) -> None:
        self.virtual_size = Size(event.size.width, len(self.items))
        self._reveal()
        self.post_message(self.Resized())

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.scroll_offset.y
        if index < len(self.items):
            self.highlighted = index

    def action_move(self, by: int) -> None:
        if self.highlighted is not None:
            self.highlighted += by

    def action_page(self, direction: int) -> None:
        self.action_move(direction * max(1, self.size.height - 1))

    def action_jump(self, index: int) -> None:
        if self.items:
            self.highlighted = index % len(self.items)

    def render_line(self, y: int) -> Strip:
        index, width = y + self.scroll_offset.y, self.size.width - self.scrollbar_gutter.width
        if index >= len(self.items):
            return Strip.blank(width, self.rich_style)
        here = index == self.highlighted
        base = self.get_component_rich_style("row-list--cursor") if here else self.rich_style
        row = Strip([Segment("▸ " if here else "  ", base), *self.cells(self.items[index], base)])
        if row.cell_length > width:
            row = Strip([*row.crop(0, width - 1), Segment("…", base)])
        return row.adjust_cell_length(width, base)

    def tone(self, name: str) -> Style:
        """A tone to add to a row's style: good, fair, poor or muted."""
        return self.get_component_rich_style(f"row-list--{name}", partial=True)

    def _reveal(self) -> None:
        if self.highlighted is not None:
            region = Region(0, self.highlighted, max(1, self.size.width), 1)
            self.scroll_to_region(region, animate=False, force=True, immediate=True)
