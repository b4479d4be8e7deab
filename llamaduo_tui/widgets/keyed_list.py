"""A list of options with the keys of vi next to the arrows."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import OptionList


class KeyedList(OptionList):
    """Moves by j, k, g, G, ctrl+d and ctrl+u, too; they stand in the user's keys by their ids."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", False, id="list.down", tooltip="To the row below"),
        Binding("k", "cursor_up", "Up", False, id="list.up", tooltip="To the row above"),
        Binding("g", "first", "First", False, id="list.first", tooltip="To the first row"),
        Binding("G", "last", "Last", False, id="list.last", tooltip="To the last row"),
        Binding("ctrl+d", "page_down", "Page down", False, id="list.page_down", tooltip="A page of rows down"),
        Binding("ctrl+u", "page_up", "Page up", False, id="list.page_up", tooltip="A page of rows up"),
    ]
