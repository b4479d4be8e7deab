"""One setting in a form: a mark, its name, the widget for its type, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Select, Static

from llamaduo_tui.views import fields
from llamaduo_tui.views.fields import Field
from llamaduo_tui.views.text import clean, one_line

_EMPTY = {
    "judge.models": "the service model",
    "judge.prompts": "our own",
    "service.api_base": "the provider's",
    "service.api_key_env": "the provider's",
    "service.budget_usd": "no cap",
    "loop.max_hours": "no limit",
}
PICKED = ("coverage.source", "service.model", "judge.models", "judge.prompts", "task.contract.json_schema")
"""Fields whose value can be chosen from what there is: files, or models."""


class Choice(Select[str], inherit_bindings=False):
    """A list to choose from; up and down stay free to walk through the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "show_overlay", "Choose", id="setting.choose", tooltip="Open the list of choices")
    ]


class SettingRow(Horizontal):
    """A field of the form with the value that it holds; None is its default."""

    @dataclass
    class Changed(Message):
        """The user gave the field another value."""

        field: Field
        value: Any

    @dataclass
    class Asked(Message):
        """The user wants to choose the field's value from what there is."""

        field: Field

    def __init__(self, field: Field, value: Any) -> None:
        super().__init__(id="row-" + "-".join(field.path))
        self.field = field
        self._held = value

    def compose(self) -> ComposeResult:
        yield Static(classes="mark")
        yield Static(Content(self.field.label + (" *" if self.field.required else "")), classes="name")
        yield self._choice() if self.field.choices else self._input()
        yield from self._beside()
        yield Static(classes="wrong")

    def _beside(self) -> ComposeResult:
        """What stands right of the field."""
        yield from ()

    def hold(self, value: Any) -> None:
        """Show another value, as after a preset or a restored default."""
        self._held = value
        if self.field.choices:
            choice = self.query_one(Choice)
            choice.set_options(self._options())
            choice.value = self._chosen()
        else:
            self.query_one(Input).value = self._shown()

    def tell(self, changed: bool, problem: str) -> None:
        """Mark the field as changed since the file was read, or as wrong and why."""
        self.set_class(bool(problem), "-wrong")
        self.query_one(".mark", Static).update(Content("✗" if problem else "●" if changed else ""))
        self.query_one(".wrong", Static).update(Content(one_line(problem, 120)))

    def focus_field(self) -> None:
        """Put the cursor into the field."""
        self.query_one(Choice if self.field.choices else Input).focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        same = event.value == self._shown()
        self._post(self._held if same else fields.parse(self.field, event.value))

    @on(Select.Changed)
    def _picked(self, event: Select.Changed) -> None:
        event.stop()
        self._post(self._held if event.value == self._chosen() else fields.parse(self.field, str(event.value)))

    def _post(self, value: Any) -> None:
        self.post_message(self.Changed(self.field, value))

    def _input(self) -> Input:
        kind = {"whole": "integer", "number": "number"}.get(self.field.kind, "text")
        return Input(
            self._shown(),
            placeholder=self._placeholder(),
            type=kind,  # type: ignore[arg-type]
            validate_on=[],
            select_on_focus=False,
            compact=True,
        )

    def _choice(self) -> Choice:
        return Choice(self._options(), allow_blank=False, value=self._chosen(), compact=True)

    def _options(self) -> list[tuple[Content, str]]:
        """The choices, and what a file holds that is none of them."""
        names = list(dict.fromkeys([*self.field.choices, self._chosen()]))
        default = fields.text_of(self.field.default)
        return [(Content(one_line(name) + (" (default)" if name == default else "")), name) for name in names]

    def _chosen(self) -> str:
        return fields.text_of(self.field.default if self._held is None else self._held)

    def _shown(self) -> str:
        return clean(fields.text_of(self._held)).replace("\n", "␊")

    def _placeholder(self) -> str:
        if self.field.required:
            return "required"
        default = fields.text_of(self.field.default) or _EMPTY.get(self.field.key, "not set")
        return f"{default} (default)" if default != "not set" else default


class PickedRow(SettingRow):
    """A setting whose value can be typed, or chosen from what there is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f4", "pick", "Choose", id="setting.pick", tooltip="Choose from what there is")
    ]

    def _beside(self) -> ComposeResult:
        pick = Button("…", compact=True, classes="pick", tooltip="Choose from what there is (F4)")
        pick.can_focus = False  # by keyboard it is F4, and not one more stop on the way through the form
        yield pick

    @on(Button.Pressed)
    def action_pick(self) -> None:
        """Have the value chosen."""
        self.post_message(self.Asked(self.field))


def setting_row(field: Field, value: Any) -> SettingRow:
    """The row for a field."""
    return (PickedRow if field.key in PICKED else SettingRow)(field, value)
