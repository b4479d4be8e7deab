"""A dialog to choose a theme: the app behind it uses the one under the cursor."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from llamaduo_tui.views.text import one_line


class ThemesScreen(ModalScreen[str | None]):
    """Dismissed with the name of the chosen theme, or with None, which restores the theme from before."""

    CSS_PATH = "themes.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back", id="themes.leave", tooltip="Restore the theme from before"),
    ]

    def compose(self) -> ComposeResult:
        self._names = sorted(self.app.available_themes)
        self._before = self.app.theme
        with Vertical() as box:
            box.border_title = "theme"
            yield OptionList(*[Option(self._line(name)) for name in self._names], markup=False)
            yield Static("↑↓ try · enter choose · esc back", id="hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = self._names.index(self._before)

    def _line(self, name: str) -> Content:
        mark = "● " if name == self._before else "  "
        kind = "dark" if self.app.available_themes[name].dark else "light"
        return Content(f"{mark}{one_line(name, 20):<14} {kind}")

    @on(OptionList.OptionHighlighted)
    def _try(self, event: OptionList.OptionHighlighted) -> None:
        self.app.theme = self._names[event.option_index]

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])

    def action_leave(self) -> None:
        self.app.theme = self._before
        self.dismiss(None)
