"""The environment variables that hold the service models' keys, and whether they are set."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from llamaduo_tui.views.service_keys import ServiceKey
from llamaduo_tui.views.text import one_line


class KeyStates(Static):
    """A line for each model: its key's variable, present or missing; never its value."""

    def show(self, keys: list[ServiceKey]) -> None:
        """Show these keys."""
        self.update(Content("\n").join(key_line(key) for key in keys))


def key_line(key: ServiceKey) -> Content:
    """The state of a key on one line."""
    mark = ("✓ ", "$text-success") if key.present else ("! ", "$text-warning")
    name = one_line(key.name, 60) + " " if key.name else ""
    return Content.assemble(mark, (f"{one_line(key.model, 40)}: ", "dim"), name, key.detail)
