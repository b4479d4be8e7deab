"""A prompt with the answers of several runs: the first two side by side with what differs, the others below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from llamaduo_tui.views.diff import json_rows, text_rows
from llamaduo_tui.widgets.comparison import Comparison
from llamaduo_tui.widgets.keyed_scroll import KeyedScroll
from llamaduo_tui.widgets.lines import FoldedText

PROMPT_LINES = 12
SIDE_BY_SIDE = 76
"""Columns from which two answers stand next to each other."""


class Reply(NamedTuple):
    """An answer, safe to show, and whose it is."""

    title: str
    text: str


class ComparedAnswers(KeyedScroll):
    """Scrolls as one."""

    DEFAULT_CSS = """
    ComparedAnswers {
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;

        & > FoldedText {
            padding: 0 1;
            background: $surface;
            border: round $border-blurred;
            border-title-color: $text;
        }

        & > Static {
            height: auto;
            padding: 0 2;
        }
    }
    """

    def compose(self) -> ComposeResult:
        yield FoldedText()
        yield Comparison()
        yield Static(markup=False)

    def on_mount(self) -> None:
        prompt = self.query_one(FoldedText)
        prompt.border_title = "prompt"
        prompt.fold(PROMPT_LINES)
        for part in self.children:
            part.display = False

    def on_resize(self) -> None:
        self.query_one(Comparison).stack(self.size.width < SIDE_BY_SIDE)

    async def show(self, prompt: str, replies: Sequence[Reply]) -> None:
        """Show the prompt and its answers, of two runs at least."""
        for part in self.children:
            part.display = True
        self.query_one(FoldedText).show(Content(prompt))
        first, second, *others = replies
        rows = json_rows(first.text, second.text) or text_rows(first.text, second.text)
        await self.query_one(Comparison).show_rows(rows, (first.title, second.title))
        parts = [part for one in others for part in ((f"{one.title}\n", "bold $text-accent"), f"{one.text}\n\n")]
        self.query_one(Static).update(Content.assemble(*parts))
        self.scroll_home(animate=False)
