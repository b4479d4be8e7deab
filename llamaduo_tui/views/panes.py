"""The parts of a screen, each with the digit that leads to it."""

from __future__ import annotations

from collections.abc import Sequence

RUN = ("scores", "answers", "log", "charts")
COMPARE = ("scores", "losses", "answers")


def titled(name: str, title: str, parts: Sequence[str] = RUN) -> str:
    """A part's title behind its key in brackets, which nobody takes for a count: "[1] rounds"."""
    return f"[{parts.index(name) + 1}] {title}"
