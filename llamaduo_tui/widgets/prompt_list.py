"""A list of prompts that draws only what is seen: 100,000 rows scroll as fast as ten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

from llamaduo_tui.review import Item
from llamaduo_tui.text import one_line

HEADING = "  PREC SIM  +/−      PROMPT"


class PromptList(ScrollView, can_focus=True):
    """Prompts with their scores, the change against the previous round, and a person's marks."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="prompts.up", tooltip="The prompt above"),
        Binding("down,j", "move(1)", "Down", show=False, id="prompts.down", tooltip="The prompt below"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="prompts.page_up", tooltip="A page of prompts up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="prompts.page_down", tooltip="A page down"),
        Binding("home", "jump(0)", "First", show=False, id="prompts.first", tooltip="The first prompt"),
        Binding("end", "jump(-1)", "Last", show=False, id="prompts.last", tooltip="The last prompt"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "prompt-list--cursor",
        "prompt-list--good",
        "prompt-list--fair",
        "prompt-list--poor",
        "prompt-list--muted",
    }
    DEFAULT_CSS = """
    PromptList {
        background: $surface;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .prompt-list--cursor { background: $block-cursor-blurred-background; text-style: bold; }
        &:focus > .prompt-list--cursor { background: $primary-muted; text-style: bold; }
        & > .prompt-list--good { color: $text-success; }
        & > .prompt-list--fair { color: $text-warning; }
        & > .prompt-list--poor { color: $text-error; }
        & > .prompt-list--muted { color: $text-muted; }
    }
    """

    highlighted: var[int | None] = var[int | None](None, init=False)

    class Chosen(Message):
        """Another prompt is under the cursor, or None is left to show."""

        def __init__(self, item: Item | None) -> None:
            super().__init__()
            self.item = item

    def __init__(self, marks: Callable[[str], str], id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.items: Sequence[Item] = ()
        self._marks = marks

    @property
    def chosen(self) -> Item | None:
        return None if self.highlighted is None else self.items[self.highlighted]

    def show(self, items: Sequence[Item]) -> None:
        """Other rows, or the same in another order; the cursor stays on its prompt where that is still there."""
        before = self.chosen
        self.items = items
        self.virtual_size = Size(self.size.width, len(items))
        ids = {item.id: index for index, item in enumerate(items)} if before else {}
        index = ids.get(before.id) if before else None
        if index is None:
            index = 0 if items else None
        self.set_reactive(PromptList.highlighted, index)
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
        index = y + self.scroll_offset.y
        if index >= len(self.items):
            return Strip.blank(self.size.width, self.rich_style)
        item, here = self.items[index], index == self.highlighted
        base = self.get_component_rich_style("prompt-list--cursor") if here else self.rich_style
        muted = self.get_component_rich_style("prompt-list--muted", partial=True)
        cells = [
            Segment("▸ " if here else "  ", base),
            *(Segment(f"{_points(score):>4}", base + self._tone(score)) for score in (item.precision, item.similarity)),
            Segment(f"{_signed(item.change):>5}", base if item.change else base + muted),
            Segment(f"  {self._marks(item.id):<3} ", base),
            Segment(one_line(item.start, max(8, self.size.width)), base),
        ]
        return Strip(cells).adjust_cell_length(self.size.width, base)

    def _tone(self, score: float | None) -> Style:
        tone = "muted" if score is None else "poor" if score < 50 else "fair" if score < 70 else "good"
        return self.get_component_rich_style(f"prompt-list--{tone}", partial=True)

    def _reveal(self) -> None:
        if self.highlighted is not None:
            region = Region(0, self.highlighted, max(1, self.size.width), 1)
            self.scroll_to_region(region, animate=False, force=True, immediate=True)


def _points(score: float | None) -> str:
    return "–" if score is None else f"{score:.0f}"


def _signed(change: float | None) -> str:
    if change is None:
        return ""
    return "=" if abs(change) < 0.05 else f"{'▲' if change > 0 else '▼'}{abs(change):.0f}"
