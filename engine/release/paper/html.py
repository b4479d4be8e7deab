"""Markup that untrusted text cannot break: only this module makes `Html`, and all else in a page is escaped."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from engine.stages.markdown import printable

CUT = 1500
"""Characters of one text of a model, a dataset or a service."""

VOID = frozenset({"meta", "br"})
"""Elements without an end."""

NOT_HERE = frozenset({"script", "style", "iframe", "object", "embed", "base", "link", "form"})
"""Elements that a page of text and pictures does not need."""


@dataclass(frozen=True, slots=True)
class Html:
    """A piece of markup, safe to put between others."""

    markup: str


Child = Html | str
Value = str | int | float | None


def tag(name: str, /, *children: Child, **attributes: Value) -> Html:
    """An element. Text is escaped. Attributes are named class_ and text_anchor for class and text-anchor; None is none.

    Raises ValueError for an element that could load or run something.
    """
    if name in NOT_HERE or any(key.startswith("on") or key in ("href", "src", "style") for key in attributes):
        raise ValueError(f"<{name}> is not for a page that loads and runs nothing")
    words = [f'{_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None]
    start = " ".join([name, *words])
    return Html(f"<{start}>" if name in VOID else f"<{start}>{joined(*children).markup}</{name}>")


def joined(*children: Child) -> Html:
    """One piece after the other."""
    return Html("".join(child.markup if isinstance(child, Html) else _escaped(child) for child in children))


def quoted(text: str) -> Html:
    """A text of a model, a dataset or a service as it is, in its own direction of writing, cut where it is long."""
    return tag("pre", text if len(text) <= CUT else f"{text[:CUT]} …", dir="auto")


def named(text: str, most: int = 200) -> Html:
    """A name of somebody else's within a line."""
    line = " ".join(text.split())
    return tag("bdi", line if len(line) <= most else f"{line[:most]}…")


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], class_: str | None = None) -> Html:
    """A table; the first cell of each row names it."""
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    body = [
        tag("tr", *(tag("td", cell) if place else tag("th", cell, scope="row") for place, cell in enumerate(row)))
        for row in rows
    ]
    return tag("div", tag("table", top, tag("tbody", *body)), class_=" ".join(filter(None, ("wide", class_))))


def document(title: str, css: str, body: Html) -> str:
    """A whole page. Browsers may load nothing for it, run nothing in it, and use these styles alone."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = joined(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
    )
    # The policy's digest is of the style's text to the byte, so that is neither escaped nor framed by line ends.
    parts = [head.markup, "<style>", css, "</style></head>\n<body>", body.markup, "</body>"]
    return f'<!doctype html>\n<html lang="en"><head>{"".join(parts)}</html>\n'


def _escaped(text: str) -> str:
    return escape(printable(text), quote=True)


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{round(value, 2):g}" if math.isfinite(value) else "0"
    return _escaped(str(value))
