"""Dialogs of the Configuration screen: a preset, a place to save to, a question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.settings import template
from llamaduo_tui.paths import typed_path
from llamaduo_tui.views.text import clean

CANCEL = Binding("escape", "dismiss(None)", "Cancel", id="dialog.cancel", tooltip="Close without changes")


class PickPreset(ModalScreen[str | None]):
    """Choose a preset for the local model; each lists what it sets."""

    CSS_PATH = "configure.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [CANCEL]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Presets for local models"
            box.border_subtitle = "Enter applies · Esc cancels"
            yield OptionList(*[Option(_preset(name), id=name) for name in template.presets()], markup=False)
            with Horizontal(classes="answers"):
                yield Button("Cancel", id="cancel", compact=True)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    @on(Button.Pressed)
    def _cancelled(self) -> None:
        self.dismiss(None)


class AskPath(ModalScreen[Path | None]):
    """Ask where to save new settings."""

    CSS_PATH = "configure.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [CANCEL]

    def __init__(self, proposed: Path) -> None:
        super().__init__()
        self._proposed = proposed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Save as"
            box.border_subtitle = "Enter saves · Esc cancels"
            yield Input(str(self._proposed))
            with Horizontal(classes="answers"):
                yield Button("Save", id="save", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    @on(Input.Submitted)
    def _typed(self) -> None:
        name = self.query_one(Input).value.strip()
        self.dismiss(typed_path(name) if name else None)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "save":
            self._typed()
        else:
            self.dismiss(None)


class Ask(ModalScreen[str | None]):
    """A question with a button for each answer; focus starts on the first one, which is the safe one."""

    CSS_PATH = "configure.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        CANCEL,
        Binding("left", "app.focus_previous", "Previous", show=False, id="ask.left", tooltip="To the previous answer"),
        Binding("right", "app.focus_next", "Next", show=False, id="ask.right", tooltip="To the next answer"),
    ]

    def __init__(self, title: str, question: str, answers: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._title = title
        self._question = question
        self._answers = answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self._title
            yield Static(Content(clean(self._question)))
            with Horizontal(classes="answers"):
                for answer, label in self._answers:
                    yield Button(Content(label), id=answer)

    @on(Button.Pressed)
    def _answered(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id)


def _preset(name: str) -> Content:
    values = template.preset(name)
    local, finetune = values.get("local", {}), values.get("finetune", {})
    settings = [
        local.get("quantization"),
        f"r {local['adapter']['r']}" if "adapter" in local else None,
        f"{finetune['epochs']} epochs" if "epochs" in finetune else None,
        f"{finetune['max_length']} tokens" if "max_length" in finetune else None,
    ]
    text = " · ".join(setting for setting in settings if setting)
    return Content.assemble((f"{name:<20}", "bold"), f" {local.get('model', '')}\n", (f"{'':<20} {text}", "dim"))
