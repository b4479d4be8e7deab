"""The top of the form: which file it edits, whether it is saved, and whether it is valid."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from llamaduo_tui.views import phrases
from llamaduo_tui.views.draft import Draft, Problem
from llamaduo_tui.views.text import one_line


class DraftHead(Horizontal):
    """Where the settings are, and how many problems they have."""

    def compose(self) -> ComposeResult:
        yield Static(id="where")
        yield Static(id="verdict")

    def show(self, draft: Draft, problems: Sequence[Problem]) -> None:
        """Show the settings as they are now."""
        name = one_line(str(draft.file), 200) if draft.file is not None else "new settings"
        state = " ● not saved" if draft.edits or draft.new else ""
        where = Content.assemble(("Configuration ", "bold"), name, (state, "$text-warning"))
        self.query_one("#where", Static).update(where)
        wrong = Content.styled(f"✗ {phrases.count(len(problems), 'problem')}", "$text-error")
        self.query_one("#verdict", Static).update(wrong if problems else Content.styled("✓ valid", "$text-success"))
