"""The inline form for a person's scores and note."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Label, Static

from llamaduo_tui.widgets.line_input import LineInput

LOWEST, HIGHEST = 1.0, 100.0
_NUMBER = r"[0-9.]*"


class LabelForm(Vertical):
    """Scores from 1 to 100 and a note; or the note alone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s,f2", "save", "Save", id="label.save", tooltip="Save the scores and the note"),
        Binding("escape", "cancel", "Cancel", id="label.cancel", tooltip="Close the form without saving"),
    ]
    DEFAULT_CSS = """
    LabelForm {
        height: auto; display: none; padding: 0 1; background: $panel; border: round $accent;
        &.-open { display: block; }
        & Horizontal { height: 1; }
        & Label { width: auto; padding: 0 1 0 0; }
        & Input { width: 8; margin: 0 2 0 0; }
        & #label-note { width: 1fr; margin: 0; }
        & Button { margin: 0 1 0 0; min-width: 8; }
        & #label-problem { width: 1fr; color: $text-error; }
        &.-note-only .scores { display: none; }
    }
    """

    class Saved(Message):
        """The values of the form; the scores are None where it has only the note."""

        def __init__(self, precision: float | None, similarity: float | None, note: str) -> None:
            super().__init__()
            self.precision = precision
            self.similarity = similarity
            self.note = note

    class Cancelled(Message):
        """The form was closed without saving."""

    def compose(self) -> ComposeResult:
        with Horizontal(classes="scores"):
            yield Label("Precision", markup=False)
            yield LineInput(
                id="label-precision", compact=True, max_length=5, restrict=_NUMBER, tooltip="Is it correct? 1 to 100"
            )
            yield Label("Similarity", markup=False)
            yield LineInput(
                id="label-similarity",
                compact=True,
                max_length=5,
                restrict=_NUMBER,
                tooltip="Is it like the reference? 1 to 100",
            )
        with Horizontal():
            yield Label("Note", markup=False)
            yield LineInput(id="label-note", compact=True, max_length=2000, placeholder="the reason, in a few words")
        with Horizontal():
            yield Button("Save", id="label-save", variant="success", compact=True, tooltip="Save (Ctrl+S)")
            yield Button("Cancel", id="label-cancel", compact=True, tooltip="Cancel (Escape)")
            yield Static(id="label-problem", markup=False)

    def open(self, scores: tuple[float | None, float | None] | None, note: str) -> None:
        """Show the form with these scores and this note; with the note alone where `scores` is None."""
        self.set_class(scores is None, "-note-only")
        self.border_subtitle = Content("enter: next, then save · ctrl+s saves · esc cancels")
        self.border_title = Content("Your note" if scores is None else "Your scores, 1 to 100")
        for name, score in zip(("precision", "similarity"), scores or (None, None), strict=True):
            self._input(name).value = "" if score is None else f"{score:.0f}"
        self._input("note").value = note
        self._problem("")
        self.add_class("-open")
        self._input("note" if scores is None else "precision").focus()

    def close(self) -> None:
        """Hide the form."""
        self.remove_class("-open")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on to the next field, and save in the last one."""
        event.stop()
        name = (event.input.id or "").removeprefix("label-")
        if name == "note":
            self._save()
        elif _score(event.value) is None:
            self._problem(f"enter a {name} from 1 to 100")
        else:
            self._problem("")
            self._input("similarity" if name == "precision" else "note").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "label-save":
            self._save()
        else:
            self.action_cancel()

    def action_save(self) -> None:
        self._save()

    def action_cancel(self) -> None:
        self.close()
        self.post_message(self.Cancelled())

    def _save(self) -> None:
        scores: list[float | None] = [None, None]
        if not self.has_class("-note-only"):
            for index, name in enumerate(("precision", "similarity")):
                scores[index] = _score(self._input(name).value)
                if scores[index] is None:
                    self._problem(f"enter a {name} from 1 to 100")
                    self._input(name).focus()
                    return
        self.close()
        self.post_message(self.Saved(scores[0], scores[1], self._input("note").value.strip()))

    def _input(self, name: str) -> Input:
        return self.query_one(f"#label-{name}", Input)

    def _problem(self, text: str) -> None:
        self.query_one("#label-problem", Static).update(Content(f"! {text}" if text else ""))


def _score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if LOWEST <= score <= HIGHEST else None
