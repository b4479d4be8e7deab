"""The line below a form that explains the focused field."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from llamaduo_tui.views.draft import Problem
from llamaduo_tui.views.fields import Field
from llamaduo_tui.views.text import one_line

LINES = 5
"""That its greatest height has, without its border."""

MORE = " …"


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
        self.update(self._fitted(Content.assemble(*parts)))

    def _fitted(self, said: Content) -> Content:
        """As much as there is room for, with a mark where that is not all."""
        width = self.content_size.width
        lines = said.wrap(width) if width > len(MORE) else []
        if len(lines) <= LINES:
            return said
        last = lines[LINES - 1].rstrip().truncate(width - len(MORE))
        return Content("\n").join([*lines[: LINES - 1], Content.assemble(last, MORE)])
