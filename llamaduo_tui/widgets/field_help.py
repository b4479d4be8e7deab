"""The line below a form that explains the focused field."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from llamaduo_tui.views.draft import Problem
from llamaduo_tui.views.fields import Field
from llamaduo_tui.views.text import one_line


class FieldHelp(Static):
    """What a field means, takes and does; its problem first, where it has one."""

    def show(self, field: Field | None, problem: Problem | None, effect: str, described: bool) -> None:
        """Explain a field, None for the list of sections; `described` adds what is else shown next to the field."""
        if field is None:
            self.update(Content.styled("↑↓ choose a section · Enter goes to its fields", "dim"))
            return
        bounds = f" ({field.bounds})" if field.bounds else ""
        default = "" if field.required else f" · default: {field.unset}"
        parts: list[str | tuple[str, str]] = [(f"{field.key}{bounds}{default}", "dim")]
        if described:
            parts = [field.description, "\n", *parts]
        if effect:
            parts = [(effect[:1].upper() + effect[1:], "$text-accent"), "\n", *parts]
        if problem is not None:
            parts = [("✗ " + one_line(problem.text, 200), "$text-error"), "\n", *parts]
        self.update(Content.assemble(*parts))
