"""What Review and Data have in common: a list with menus and a search above it, and the page of the chosen row."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.reactive import var
from textual.widgets import Input, Select
from textual.worker import Worker, WorkerState

from engine.protocol.errors import LlamaDuoError
from engine.protocol.full_disk import full
from llamaduo_tui.screens.question import QuestionScreen
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.comparison import Comparison
from llamaduo_tui.widgets.page_view import PageView
from llamaduo_tui.widgets.row_list import RowList

STACKED_BELOW = 100
"""Columns of a terminal below which the two texts of a comparison are not side by side."""


class BrowsingScreen(QuestionScreen):
    """Moves the focus between the list, the menus and the search, views the page, and reports what failed."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "stop", "Stop", False, id="run.stop", tooltip="Stop the run's worker; you can resume it later"),
    ]

    keys: var[tuple[bool, ...]] = var[tuple[bool, ...]]((), bindings=True)
    """What the keys depend on: the footer is drawn again only where this changes, because that takes long."""

    @property
    def rows(self) -> RowList[Any]:
        """The list."""
        return self.query_one(RowList)  # type: ignore[type-abstract]  # its subclass is mounted

    @property
    def page_view(self) -> PageView[Any, Any]:
        """The page of the list's chosen row."""
        return self.query_one(PageView)  # type: ignore[type-abstract]

    @property
    def typing(self) -> bool:
        """Whether letters are text now, not keys."""
        return not self.is_mounted or isinstance(self.focused, Input)

    def awaits(self, key: str) -> bool:
        """Whether a key has to wait for the list, or for the page that is being read: those that move in it do not."""
        if self.typing:
            return False
        if super().awaits(key):
            return True
        bound = self.active_bindings.get(key)
        return self.page_view.reading and (bound is None or not isinstance(bound.node, RowList))

    def on_resize(self) -> None:
        for comparison in self.query(Comparison):
            comparison.stack(self.size.width < STACKED_BELOW)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self._report(PageView.Failed(event.worker.error))

    @on(PageView.Failed)
    def _report(self, message: PageView.Failed) -> None:
        error, self.ready = message.error, True
        if isinstance(error, LlamaDuoError):
            title, details = error.message, error.hint
        elif (used_up := full(error)) is not None:
            title, details = used_up
        elif isinstance(error, OSError) and error.filename:
            title, details = f"{error.filename}: {error.strerror}", "check whose it is and whether the disk is full"
        else:
            title, details = "That failed", (isinstance(error, OSError) and error.strerror) or repr(error)
        self.notify(one_line(details), title=one_line(title), severity="error", markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that would do nothing."""
        if self.typing:
            return action == "back" or not hasattr(self, f"action_{action}")
        match action:
            case "view" | "copy" | "save":
                return self.page_view.page is not None
            case "whole":
                shown = self.page_view
                return shown.page is not None and (shown.page.is_long or shown.folded or shown.whole)
        return super().check_action(action, parameters)

    def action_view(self) -> None:
        self.page_view.next_view()

    def action_whole(self) -> None:
        self.page_view.toggle_whole()

    def action_search(self) -> None:
        self.query_one("#search", Input).focus()

    def action_menu(self, name: str) -> None:
        """Open one of the menus."""
        select = self.query_one(f"#{name}", Select)
        select.focus()
        select.action_show_overlay()

    def action_back(self) -> None:
        """To the list, then to the screen below."""
        if not self.rows.has_focus and self.rows.display:
            self.rows.focus()
        else:
            self.dismiss()

    def copy_text(self, text: str, what: str) -> None:
        """Copy a text to the terminal's clipboard."""
        self.app.copy_text(text, what)  # type: ignore[attr-defined]
