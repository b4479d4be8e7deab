"""Facts below one another: names, and texts that wrap next to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from textual.content import Content

from llamaduo_tui.widgets.diffed_static import DiffedStatic

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

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, **options)
        self._facts: Sequence[Fact] = ()

    def show(self, facts: Sequence[Fact]) -> None:
        self._facts = facts
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        room = self.content_size.width - LABEL
        if room > 0:
            self.put(Content("\n").join(line for fact in self._facts for line in _lines(fact, room)))


def _lines(fact: Fact, room: int) -> Iterator[Content]:
    for number, line in enumerate(fact.said.wrap(room)):
        yield Content.assemble((f"{'' if number else fact.name:<{LABEL}}", "bold"), line.rstrip())
