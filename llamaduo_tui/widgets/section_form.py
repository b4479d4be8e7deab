"""The sections of the settings, and the fields of one of them; only the section in sight has widgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from llamaduo_tui.views.fields import Path, Section
from llamaduo_tui.widgets.setting_row import SettingRow, setting_row


class SectionList(OptionList):
    """The sections to choose from; a page is one section, as it is in the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "cursor_up", "Section above", show=False, id="sections.up", tooltip="Previous section"),
        Binding("pagedown", "cursor_down", "Section below", show=False, id="sections.down", tooltip="Next section"),
    ]


class SectionForm(VerticalScroll, inherit_bindings=False, can_focus=False):
    """The form of a section."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", "Field above", show=False, id="form.up", tooltip="To the field above"),
        Binding("down", "app.focus_next", "Field below", show=False, id="form.down", tooltip="To the field below"),
        Binding("enter", "app.focus_next", "Next field", show=False, id="form.next", tooltip="To the next field"),
    ]

    section: Section | None = None

    async def show(self, section: Section, value_of: Callable[[Path], Any], after: dict[str, Widget]) -> None:
        """Show a section with its values; `after` has widgets that belong below a field, by its key."""
        self.section = section
        widgets: list[Widget] = []
        for group in section.groups:
            title = Content(group.title or section.title)
            widgets.append(Static(title, classes="subtitle" if group.title else "title"))
            widgets.append(Static(Content(group.description), classes="about"))
            for field in group.fields:
                widgets.append(setting_row(field, value_of(field.path)))
                if field.key in after:
                    widgets.append(after[field.key])
        with self.app.batch_update():
            await self.remove_children()
            await self.mount_all(widgets)
        self.scroll_home(animate=False)

    @property
    def rows(self) -> list[SettingRow]:
        return list(self.query(SettingRow))

    def row(self, path: Path) -> SettingRow | None:
        """The row of a field, if it is in this section."""
        return next((row for row in self.rows if row.field.path == path), None)
