"""Dialogs of the Configuration screen: a preset, a place to save to, a question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.preflight.report import Advice, ModelAdvice, ModelChoice
from engine.protocol.errors import LlamaDuoError
from engine.settings.preset import Preset, load_all
from llamaduo_tui.paths import typed_path
from llamaduo_tui.views import presets
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.widgets.line_input import LineInput

CANCEL = Binding("escape", "dismiss(None)", "Cancel", id="dialog.cancel", tooltip="Close without changes")


class PickPreset(ModalScreen[str | None]):
    """Choose a preset for the local model: what is known of each and, once `look` has an answer, whether it fits."""

    CSS_PATH = "configure.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [CANCEL]

    def __init__(self, look: Callable[[], Awaitable[ModelChoice]]) -> None:
        super().__init__()
        self._look = look
        self._presets = load_all()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall") as box:
            box.border_title = "Presets for local models"
            box.border_subtitle = "Enter applies · Esc cancels"
            yield Static(Content("Looking at this machine and your data …"), id="looked")
            yield OptionList(*[Option(_preset(preset, None), id=preset.name) for preset in self._presets], markup=False)
            with Horizontal(classes="answers"):
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        self._advise()

    @work(group="presets.look", exclusive=True, exit_on_error=False)
    async def _advise(self) -> None:
        looked, listed = self.query_one("#looked", Static), self.query_one(OptionList)
        try:
            choice = await self._look()
        except LlamaDuoError as error:
            looked.update(Content.styled(f"! {one_line(error.message, 200)}", "$text-warning"))
            return
        looked.update(Content(f"{one_line(choice.machine, 100)}\n{one_line(choice.data, 200)}"))
        found = {model.name: model for model in choice.models}
        for preset in self._presets:
            listed.replace_option_prompt(preset.name, _preset(preset, found.get(preset.name)))

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
            yield LineInput(str(self._proposed))
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


def _preset(preset: Preset, found: ModelAdvice | None) -> Content:
    """A preset in three lines: its model, what is known of it, and the advice."""
    mark, style = (presets.MARKS[found.advice], _STYLES[found.advice]) if found is not None else (" ", "")
    return Content.assemble(
        (f"{mark} {preset.name:<22}", f"bold {style}"),
        f" {preset.model}\n",
        (f"  {presets.about(preset)}", "dim"),
        (f"\n  {presets.verdict(found)}" if found is not None else "", style or "dim"),
    )


_STYLES: dict[Advice, str] = {
    "first": "$text-success",
    "fits": "",
    "slow": "$text-warning",
    "unsuited": "$text-warning",
    "large": "$foreground-muted",
}
