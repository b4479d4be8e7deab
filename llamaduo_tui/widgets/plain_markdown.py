"""Rendered Markdown of models and reports: links are shown and never opened, code is coloured only by its own word."""

from __future__ import annotations

from typing import ClassVar

from textual.content import Content
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock, MarkdownFence


class _Fence(MarkdownFence):
    """A block of code; Textual would guess the language of one that names none, and mark its errors in red."""

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        return super().highlight(code, language or "text", ansi, dark)


class PlainMarkdown(Markdown):
    """The text is safe to show before it comes here."""

    BLOCKS: ClassVar[dict[str, type[MarkdownBlock]]] = {**Markdown.BLOCKS, "fence": _Fence, "code_block": _Fence}  # type: ignore[misc]

    def __init__(self, text: str = "") -> None:
        super().__init__(text, open_links=False)
