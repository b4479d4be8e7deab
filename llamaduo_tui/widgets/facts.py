"""Facts below one another: names, and texts that wrap next to them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from textual.content import Content

from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.lines import hung

LABEL = 11
"""Columns of the names."""


class Fact(NamedTuple):
    """A fact: its subject and its text."""

    name: str
    said: Content


def fact(name: str, *said: str | Content | tuple[str, str]) -> Fact:
    """A fact, put together from plain and styled text."""
    return Fact(name, Content.assemble(*said))


class Facts(DiffedStatic):
    """Facts below one another, with wrapped text next to their names."""

    def __init__(self, id: str | None = None, style: str = "bold") -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, markup=False)
        self._style = style
        self._facts: Sequence[Fact] = ()

    def show(self, facts: Sequence[Fact]) -> None:
        self._facts = facts
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.content_size.width
        if width > LABEL:
            rows = (hung(fact.name, fact.said, width, LABEL, self._style) for fact in self._facts)
            self.put(Content("\n").join(chain.from_iterable(rows)))
