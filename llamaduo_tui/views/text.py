"""Untrusted text made safe to show in the app: `clean` and `one_line` of the engine, and Markdown.

Markup is never parsed: wrap the result in `rich.text.Text`, never in a markup string.
"""

from __future__ import annotations

import re

from engine.protocol.terminal import TAB, clean, one_line

__all__ = ["TAB", "clean", "markdown", "one_line"]

_ENTITY = re.compile(r"&#?\w+;")


def markdown(text: str) -> str:
    """The text as Markdown source: its entities, too, are left with nothing that a terminal would obey."""
    import html  # its table takes a part of a start

    def plain(found: re.Match[str]) -> str:
        meant = html.unescape(found[0])
        return found[0] if clean(meant) == meant else clean(meant)

    return _ENTITY.sub(plain, clean(text))
