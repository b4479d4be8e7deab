"""The settings as a form: the list of sections, and a page with a row for each field of the chosen one.

A page is made once, when its section is first shown; afterwards it is only hidden and shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import Any, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from llamaduo_tui.views import phrases
from llamaduo_tui.views.draft import Draft, Problem
from llamaduo_tui.views.fields import FormSection, Path, line_of
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.setting_row import SettingRow

SUMMARY = 24
"""Characters of a section's values in the list of sections."""


class SectionList(OptionList):
    """The sections to choose from; a page is one section, as in the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup,k", "cursor_up", "Section above", show=False, id="sections.up", tooltip="Previous section"),
        Binding("pagedown,j", "cursor_down", "Section below", show=False, id="sections.down", tooltip="Next section"),
    ]

    def __init__(self, sections: Sequence[FormSection]) -> None:
        super().__init__(*[Option(one.title, id=one.name) for one in sections], id="sections", markup=False)
        self._sections = sections

    def mark(self, draft: Draft, problems: Sequence[Problem], *, summaries: bool) -> None:
        """Mark the sections with problems and with changes; `summaries` adds the values of each."""
        wrong = {problem.path[0] for problem in problems if problem.path}
        edited = {path[0] for path in draft.edits}
        for index, section in enumerate(self._sections):
            mark = "✗" if section.name in wrong else "●" if section.name in edited else " "
            title = Content(f"{mark} {section.title}")
            if summaries and (summary := _summary(section, draft)):
                title = Content.assemble(title, (f"\n    {summary}", "dim"))
            self.replace_option_prompt_at_index(index, title)


class SectionPage(Vertical):
    """The rows of a section; `below` has widgets that belong below a field, by its key."""

    def __init__(self, section: FormSection, value_of: Callable[[Path], Any], below: dict[str, Widget]) -> None:
        super().__init__()
        self.section = section
        self.rows: Sequence[SettingRow] = [SettingRow(field, value_of(field.path)) for field in section.fields]
        self._below = below
        self._name_width = max(cell_len(field.label) + 2 * field.required for field in section.fields) + 1

    def compose(self) -> ComposeResult:
        rows = iter(self.rows)
        for group in self.section.groups:
            kind = "subtitle" if group.title else "title"
            more = "" if any(field.basic for field in group.fields) else " -more"
            yield Static(Content(group.title or self.section.title), classes=kind + more)
            yield Static(Content(group.description), classes="intro" + more)
            for field in group.fields:
                yield next(rows)
                if field.key in self._below:
                    yield self._below[field.key]
        if hidden := sum(not field.basic for field in self.section.fields):
            yield Static(Content(f"{phrases.count(hidden, 'more setting')}: ctrl+t"), classes="rest")

    def on_mount(self) -> None:
        for name in self.query(".name"):
            name.styles.width = self._name_width


class SettingsForm(VerticalScroll, inherit_bindings=False, can_focus=False):
    """The form of a section."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", "Field above", show=False, id="form.up", tooltip="To the field above"),
        Binding("down", "app.focus_next", "Field below", show=False, id="form.down", tooltip="To the field below"),
    ]

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._pages: dict[str, SectionPage] = {}
        self._shown = ""

    @property
    def section(self) -> FormSection | None:
        """The section that is shown."""
        page = self._pages.get(self._shown)
        return page.section if page is not None else None

    @property
    def rows(self) -> Sequence[SettingRow]:
        """The rows of the section that is shown."""
        page = self._pages.get(self._shown)
        return page.rows if page is not None else ()

    @property
    def made(self) -> Iterator[SettingRow]:
        """The rows of all sections that were shown so far."""
        return (row for page in self._pages.values() for row in page.rows)

    def show(
        self, section: FormSection, value_of: Callable[[Path], Any], below: Callable[[], dict[str, Widget]]
    ) -> None:
        """Show a section; the first time its page is made, with these values and the widgets below some fields."""
        if self._shown == section.name:
            return
        self._shown = section.name
        self.make(section, value_of, below)
        for name, page in self._pages.items():
            page.display = name == section.name
        self.scroll_home(animate=False)

    def make(
        self, section: FormSection, value_of: Callable[[Path], Any], below: Callable[[], dict[str, Widget]]
    ) -> None:
        """Make the page of a section, if there is none yet, without showing it."""
        if section.name not in self._pages:
            page = self._pages[section.name] = SectionPage(section, value_of, below())
            page.display = False
            self.mount(page)

    def row(self, path: Path) -> SettingRow | None:
        """The row of a field, if it is in the section that is shown."""
        return next((row for row in self.rows if row.field.path == path), None)


def _summary(section: FormSection, draft: Draft) -> str:
    """The values of a section that are not its defaults; of paths the last part."""
    values = [draft[field.path] for field in section.fields]
    given = [one_line(line_of(value), 200) for value in values if value is not None]
    return one_line(" · ".join(PurePath(text).name if text.startswith("/") else text for text in given), SUMMARY)
