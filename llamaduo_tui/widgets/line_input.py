"""Fields that show nothing that a terminal would obey, and in which a paste loses nothing without a word."""

from __future__ import annotations

from rich.text import Text
from textual.events import Paste
from textual.widgets import Input

from engine.protocol.terminal import in_place, obeyed_left_out
from llamaduo_tui.views import phrases


class LineInput(Input):
    """Keeps all lines of a paste, joined by `joint`; with none it keeps the first one and reports the others."""

    joint: str | None = " "

    @property
    def _value(self) -> Text:
        return Text(in_place(self.value), no_wrap=True, overflow="ignore", end="")

    def _on_paste(self, event: Paste) -> None:
        event.prevent_default()
        event.stop()
        lines = [line.strip() for line in event.text.splitlines() if line.strip()]
        if not lines:
            return
        if len(lines) > 1 and not self.take_lines(event.text):
            kept = lines[:1] if self.joint is None else lines
            left = phrases.count(len(lines) - len(kept), "line")
            said = f"Only the first line is pasted: {left} left out" if len(kept) < len(lines) else ""
            self.app.notify(said or f"{len(lines)} lines are pasted as one", markup=False)
            self._paste_line((self.joint or "").join(kept))
        elif len(lines) == 1:
            self._paste_line(lines[0])

    def action_paste(self) -> None:
        """Paste what was copied in the app, as what is pasted by the terminal."""
        self._on_paste(Paste(obeyed_left_out(self.app.clipboard)[0]))

    def take_lines(self, text: str) -> bool:
        """Take a paste of several lines in another way; whether it is taken."""
        return False

    def _paste_line(self, line: str) -> None:
        before = self.value
        self.replace(line, *sorted(self.selection))
        if self.value == before and line not in before:
            self.app.notify("Nothing is pasted: this field does not take that text", severity="warning", markup=False)
