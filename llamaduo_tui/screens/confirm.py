"""A question before an action that cannot be undone; the answer that does nothing has the focus."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static
from textual.widgets.button import ButtonVariant


class ConfirmScreen(ModalScreen[bool]):
    """Ends with True where the user says yes."""

    CSS_PATH = "confirm.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes", tooltip="Do it"),
        Binding("n,escape", "answer(False)", "No", id="confirm.no", tooltip="Don't do it"),
        Binding("left,up", "app.focus_previous", "Previous", False, id="confirm.previous", tooltip="To the other one"),
        Binding("right,down", "app.focus_next", "Next", False, id="confirm.next", tooltip="To the other one"),
    ]

    def __init__(self, question: str, details: str, yes: str, harmless: bool = False) -> None:
        super().__init__(classes="-harmless" if harmless else None)
        self.question, self._details, self._yes = question, details, yes
        self._variant: ButtonVariant = "primary" if harmless else "error"

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self.question.replace("[", "(")
            yield Static(self._details, markup=False)
            with Horizontal():
                yield Button("n No", id="no", compact=True)
                yield Button(f"y {self._yes}", id="yes", variant=self._variant, compact=True)

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
