"""Pieces of the report as Markdown, in which untrusted text stays text."""

from __future__ import annotations

import re

from engine.protocol.decision import Interval

CUT = 1500
"""Characters of one text in the report."""

UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control codes, characters that turn the direction of text, halves of characters."""


def interval(score: Interval) -> str:
    """A mean with its bounds."""
    return f"{score.mean:.1f} ({score.low:.1f} to {score.high:.1f})"


def printable(text: str) -> str:
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def inline(text: str) -> str:
    """Untrusted text inside a line of Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#!])", r"\\\1", " ".join(printable(text[:CUT]).split()))


def block(text: str) -> str:
    """Untrusted text as a code block that it cannot close."""
    cut = printable(text if len(text) <= CUT else text[:CUT] + " …")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", cut)), default=0))
    return f"{fence}text\n{cut}\n{fence}"


def cell(text: str) -> str:
    """Untrusted text in a cell of an HTML table."""
    cut = printable(text if len(text) <= CUT else text[:CUT] + " …")
    escaped = cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<pre>{escaped.replace(chr(10), '&#10;')}</pre>"
