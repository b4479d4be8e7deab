"""The field of a card for the number that an answer takes."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from llamaduo_tui.widgets.line_input import LineInput


class Amount(LineInput):
    """The number that an answer takes; its keys lead to the answers, or back to what the screen shows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "To the answers", id="amount.enter", tooltip="To the answer that takes this number"),
        Binding("escape", "screen.back", "Leave the field", id="amount.leave", tooltip="Keep the number, answer later"),
    ]

    def __init__(self, id: str, *, whole: bool = False, max_length: int) -> None:  # noqa: A002 - Textual's name
        super().__init__(
            type="integer" if whole else "text", id=id, classes="amount", compact=True, max_length=max_length
        )
