"""Untrusted text made safe to show in the app: `clean` and `one_line` of the engine, and Markdown.

Markup is never parsed: wrap the result in `rich.text.Text`, never in a markup string.
"""

from __future__ import annotations

import re

from engine.protocol.terminal import TAB, clean, one_line

__all__ = ["TAB", "cells", "clean", "cut", "markdown", "one_line", "padded"]

_ENTITY = re.compile(r"&#?\w+;")


def markdown(text: str) -> str:
    """The text as Markdown source: its entities, too, are left with nothing that a terminal would obey."""
    import html  # its table takes a part of a start

    def plain(found: re.Match[str]) -> str:
        meant = html.unescape(found[0])
        return found[0] if clean(meant) == meant else clean(meant)

    return _ENTITY.sub(plain, clean(text))


def cells(text: str) -> int:
    """The cells of a terminal that a line takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # most lines are plain, and a command starts without it

    return cell_len(text)


def padded(text: str, width: int) -> str:
    """A line with spaces behind it, so that it takes at least `width` cells."""
    return text + " " * (width - cells(text))


def cut(text: str, width: int, *, end: bool = False) -> str:
    """A line in at most `width` cells: its beginning and an ellipsis, or an ellipsis and its `end`."""
    if cells(text) <= width:
        return text
    kept = text
    while kept and cells(kept) >= width:
        kept = kept[1:] if end else kept[:-1]
    return f"…{kept}" if end else f"{kept}…"
