"""A row of the form: a mark, the field's name, the widget for its type, its problem, and its explanation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Select, Static

from llamaduo_tui.views import fields
from llamaduo_tui.views.fields import Field
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.widgets.line_input import LineInput

PICKED = ("coverage.source", "service.model", "judge.models", "judge.prompts", "task.contract.json_schema")
"""Fields whose value can be chosen in a dialog: files, or models."""


class Choice(Select[str], inherit_bindings=False):
    """A list to choose from; up and down stay free to walk through the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "show_overlay", "Choose", id="setting.choose", tooltip="Open the list of choices")
    ]


class SettingInput(LineInput):
    """The field of a setting; a paste of several lines opens the editor where the setting takes lines."""

    BINDINGS: ClassVar[list[BindingType]] = [  # here: Textual's own field takes Enter, which nobody would hear of
        Binding("enter", "app.focus_next", "Next field", show=False, id="form.next", tooltip="To the next field"),
    ]

    @dataclass
    class Pasted(Message):
        """Several lines were pasted between `before` and `after`."""

        before: str
        text: str
        after: str

    def __init__(self, field: Field, text: str) -> None:
        kind = {"whole": "integer", "number": "number"}.get(field.kind, "text")
        required = "required" if field.required else ""
        super().__init__(
            text,
            placeholder=required or (f"{field.unset} (default)" if field.unset != "none" else "none"),
            type=kind,  # type: ignore[arg-type]
            validate_on=[],
            select_on_focus=False,
            compact=True,
        )
        self.joint = None
        self._long = field.long

    def take_lines(self, text: str) -> bool:
        if self._long:
            start, end = sorted(self.selection)
            self.post_message(self.Pasted(self.value[:start], text, self.value[end:]))
        return self._long


class SettingRow(Vertical):
    """A field of the form with its value; None is its default."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f4,ctrl+l", "pick", "Choose", id="setting.pick", tooltip="Choose the value from a list"),
        Binding("f4,ctrl+l", "lines", "Edit", id="setting.lines", tooltip="Edit the value in several lines"),
        Binding("ctrl+o", "outside", "$EDITOR", id="setting.outside", tooltip="Edit the value in $EDITOR"),
    ]

    @dataclass
    class Changed(Message):
        """The user gave the field another value."""

        field: Field
        value: Any

    @dataclass
    class PickRequested(Message):
        """The user wants to choose the field's value in a dialog."""

        field: Field

    @dataclass
    class LinesRequested(Message):
        """The user wants to edit the value in several lines; `text` is the one to begin with, None for the value."""

        field: Field
        text: str | None = None

    @dataclass
    class OutsideRequested(Message):
        """The user wants to edit the value in a program of their own."""

        field: Field

    def __init__(self, field: Field, value: Any) -> None:
        super().__init__(id="row-" + "-".join(field.path))
        self.field = field
        self._value = value
        self._mark = "", ""
        self.set_class(not field.basic, "-more")

    def compose(self) -> ComposeResult:
        with Horizontal(classes="line"):
            yield Static(classes="mark")
            yield Static(Content(self.field.label + (" *" if self.field.required else "")), classes="name")
            yield self._choice() if self.field.choices else SettingInput(self.field, self._shown())
            if self.field.key in PICKED or self.field.long:
                hint = "Choose from a list (F4)" if self.field.key in PICKED else "Edit in several lines (F4)"
                pick = Button("…", compact=True, classes="pick", tooltip=hint)
                pick.can_focus = False  # by keyboard it is F4, not one more stop in the form
                yield pick
            yield Static(classes="wrong")
        bounds = f" ({self.field.bounds})" if self.field.bounds else ""
        yield Static(Content(self.field.description + bounds), classes="about")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "pick":
                return self.field.key in PICKED
            case "lines":
                return self.field.long
            case "outside":
                return not self.field.choices
        return True

    def set_value(self, value: Any) -> None:
        """Show another value, such as that of a preset or a restored default."""
        self._value = value
        if not self.is_mounted:
            self.call_after_refresh(self.set_value, value)
        elif self.field.choices:
            choice = self.query_one(Choice)
            choice.set_options(self._options())
            choice.value = self._chosen()
        else:
            self.query_one(SettingInput).value = self._shown()

    def mark(self, changed: bool, problem: str, used: bool) -> None:
        """Mark the field as changed since the file was read, as wrong, with its problem, or as used: always shown."""
        self.set_class(bool(problem), "-wrong")
        self.set_class(used or changed or bool(problem), "-used")
        mark = "✗" if problem else "●" if changed else "", one_line(problem, 120)
        if self._mark != mark:
            self._mark = mark
            self._draw_mark()

    def on_mount(self) -> None:
        self._draw_mark()

    def _draw_mark(self) -> None:
        for selector, text in zip((".mark", ".wrong"), self._mark, strict=True):
            for part in self.query(selector).results(Static):
                part.update(Content(text))

    def focus_field(self) -> None:
        """Put the cursor into the field, as soon as it is there."""
        if self.is_mounted:
            self.query_one(Choice if self.field.choices else SettingInput).focus()
        else:
            self.call_after_refresh(self.focus_field)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._post(self._meant(event.value))

    @on(Select.Changed)
    def _picked(self, event: Select.Changed) -> None:
        event.stop()
        self._post(self._meant(str(event.value)))

    @on(SettingInput.Pasted)
    def _pasted(self, event: SettingInput.Pasted) -> None:
        event.stop()
        before, after = (fields.lines_of(fields.parse(self.field, part)) for part in (event.before, event.after))
        own_line = "" if self.field.kind == "text" else "\n"
        text = own_line.join(part for part in (before, event.text.strip("\n"), after) if part)
        self.post_message(self.LinesRequested(self.field, text))

    @on(Button.Pressed)
    def action_pick(self) -> None:
        """Have the value chosen in a dialog."""
        picked = self.field.key in PICKED
        self.post_message(self.PickRequested(self.field) if picked else self.LinesRequested(self.field))

    def action_lines(self) -> None:
        """Edit the value in several lines."""
        self.post_message(self.LinesRequested(self.field))

    def action_outside(self) -> None:
        """Edit the value in $EDITOR."""
        self.post_message(self.OutsideRequested(self.field))

    @property
    def value(self) -> Any:
        """The value that the field shows, of which `Changed` may still be on its way."""
        shown = self.query_one(Choice).value if self.field.choices else self.query_one(SettingInput).value
        return self._meant(str(shown))

    def _meant(self, text: str) -> Any:
        same = text == (self._chosen() if self.field.choices else self._shown())
        return self._value if same else fields.parse(self.field, text)

    def _post(self, value: Any) -> None:
        self.post_message(self.Changed(self.field, value))

    def _choice(self) -> Choice:
        return Choice(self._options(), allow_blank=False, value=self._chosen(), compact=True)

    def _options(self) -> list[tuple[Content, str]]:
        """The choices, and the value in the file where it is not one of them."""
        names = list(dict.fromkeys([*self.field.choices, self._chosen()]))
        default = fields.text_of(self.field.default)
        return [(Content(one_line(name) + (" (default)" if name == default else "")), name) for name in names]

    def _chosen(self) -> str:
        return fields.text_of(self.field.default if self._value is None else self._value)

    def _shown(self) -> str:
        return clean(fields.line_of(self._value))
