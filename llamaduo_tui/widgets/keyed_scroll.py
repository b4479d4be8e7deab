"""Parts of a screen that scroll by the keys of vi next to the arrows."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from llamaduo_tui.widgets.cut_log import CutLog

SCROLLING: list[BindingType] = [
    Binding("j", "scroll_down", "Down", False, id="scroll.down", tooltip="A line down"),
    Binding("k", "scroll_up", "Up", False, id="scroll.up", tooltip="A line up"),
    Binding("G", "scroll_end", "Last", False, id="scroll.last", tooltip="To the end"),
    Binding("ctrl+d", "page_down", "Page down", False, id="scroll.page_down", tooltip="A page down"),
    Binding("ctrl+u", "page_up", "Page up", False, id="scroll.page_up", tooltip="A page up"),
]


class KeyedScroll(VerticalScroll):
    """Moves by j, k, G, ctrl+d and ctrl+u, too; they stand in the user's keys by their ids."""

    BINDINGS: ClassVar[list[BindingType]] = SCROLLING


class KeyedLog(CutLog):
    """Lines that scroll by the same keys."""

    BINDINGS: ClassVar[list[BindingType]] = SCROLLING
