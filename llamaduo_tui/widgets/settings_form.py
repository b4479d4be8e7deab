"""The settings as a form: the list of sections, and a row for each field of the chosen one.

Only the chosen section has widgets. A row has a mark, the field's name, the widget for its type, and its problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Input, OptionList, Select, Static

from llamaduo_tui.views import fields
from llamaduo_tui.views.fields import Field, FormSection, Path
from llamaduo_tui.views.text import clean, one_line

_EMPTY = {
    "coverage.limit": "all rows",
    "judge.models": "the service model",
    "judge.prompts": "built in",
    "service.api_base": "the provider's",
    "service.api_key_env": "the provider's",
    "service.budget_usd": "no cap",
    "loop.max_hours": "no limit",
}
PICKED = ("coverage.source", "service.model", "judge.models", "judge.prompts", "task.contract.json_schema")
"""Fields whose value can be chosen in a dialog: files, or models."""


class Choice(Select[str], inherit_bindings=False):
    """A list to choose from; up and down stay free to walk through the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "show_overlay", "Choose", id="setting.choose", tooltip="Open the list of choices")
    ]


class SettingRow(Horizontal):
    """A field of the form with its value; None is its default."""

    @dataclass
    class Changed(Message):
        """The user gave the field another value."""

        field: Field
        value: Any

    @dataclass
    class PickRequested(Message):
        """The user wants to choose the field's value in a dialog."""

        field: Field

    def __init__(self, field: Field, value: Any) -> None:
        super().__init__(id="row-" + "-".join(field.path))
        self.field = field
        self._value = value

    def compose(self) -> ComposeResult:
        yield Static(classes="mark")
        yield Static(Content(self.field.label + (" *" if self.field.required else "")), classes="name")
        yield self._choice() if self.field.choices else self._input()
        yield from self._after()
        yield Static(classes="wrong")

    def _after(self) -> ComposeResult:
        """Widgets to the right of the field."""
        yield from ()

    def set_value(self, value: Any) -> None:
        """Show another value, such as that of a preset or a restored default."""
        self._value = value
        if self.field.choices:
            choice = self.query_one(Choice)
            choice.set_options(self._options())
            choice.value = self._chosen()
        else:
            self.query_one(Input).value = self._shown()

    def mark(self, changed: bool, problem: str) -> None:
        """Mark the field as changed since the file was read, or as wrong, with its problem."""
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
        self._post(self._value if same else fields.parse(self.field, event.value))

    @on(Select.Changed)
    def _picked(self, event: Select.Changed) -> None:
        event.stop()
        self._post(self._value if event.value == self._chosen() else fields.parse(self.field, str(event.value)))

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
        """The choices, and the value in the file where it is not one of them."""
        names = list(dict.fromkeys([*self.field.choices, self._chosen()]))
        default = fields.text_of(self.field.default)
        return [(Content(one_line(name) + (" (default)" if name == default else "")), name) for name in names]

    def _chosen(self) -> str:
        return fields.text_of(self.field.default if self._value is None else self._value)

    def _shown(self) -> str:
        return clean(fields.text_of(self._value)).replace("\n", "␊")

    def _placeholder(self) -> str:
        if self.field.required:
            return "required"
        default = fields.text_of(self.field.default) or _EMPTY.get(self.field.key, "not set")
        return f"{default} (default)" if default != "not set" else default


class PickedRow(SettingRow):
    """A setting whose value can be typed, or chosen in a dialog."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f4", "pick", "Choose", id="setting.pick", tooltip="Choose from a list")
    ]

    def _after(self) -> ComposeResult:
        pick = Button("…", compact=True, classes="pick", tooltip="Choose from a list (F4)")
        pick.can_focus = False  # by keyboard it is F4, not one more stop in the form
        yield pick

    @on(Button.Pressed)
    def action_pick(self) -> None:
        """Have the value chosen in a dialog."""
        self.post_message(self.PickRequested(self.field))


class SectionList(OptionList):
    """The sections to choose from; a page is one section, as in the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "cursor_up", "Section above", show=False, id="sections.up", tooltip="Previous section"),
        Binding("pagedown", "cursor_down", "Section below", show=False, id="sections.down", tooltip="Next section"),
    ]


class SettingsForm(VerticalScroll, inherit_bindings=False, can_focus=False):
    """The form of a section."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", "Field above", show=False, id="form.up", tooltip="To the field above"),
        Binding("down", "app.focus_next", "Field below", show=False, id="form.down", tooltip="To the field below"),
        Binding("enter", "app.focus_next", "Next field", show=False, id="form.next", tooltip="To the next field"),
    ]

    section: FormSection | None = None
    """The section that is shown, None while its rows are being made."""

    rows: Sequence[SettingRow] = ()
    """The rows of the section that is shown."""

    async def show(self, section: FormSection, value_of: Callable[[Path], Any], below: dict[str, Widget]) -> None:
        """Show a section with its values; `below` has widgets that belong below a field, by its key."""
        self.section, self.rows = None, ()
        rows: list[SettingRow] = []
        widgets: list[Widget] = []
        for group in section.groups:
            title = Content(group.title or section.title)
            widgets.append(Static(title, classes="subtitle" if group.title else "title"))
            widgets.append(Static(Content(group.description), classes="about"))
            for field in group.fields:
                row = (PickedRow if field.key in PICKED else SettingRow)(field, value_of(field.path))
                rows.append(row)
                widgets.append(row)
                if field.key in below:
                    widgets.append(below[field.key])
        with self.app.batch_update():
            await self.remove_children()
            await self.mount_all(widgets)
        self.section, self.rows = section, rows
        self.scroll_home(animate=False)

    def row(self, path: Path) -> SettingRow | None:
        """The row of a field, if it is in this section."""
        return next((row for row in self.rows if row.field.path == path), None)
