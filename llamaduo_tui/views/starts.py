"""The beginnings of prompts in a list: what they have in common is left out, so that each row shows what differs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

START_CHARS = 80
"""Characters of a prompt that a list keeps."""

SHOWN_CHARS = 24
"""Characters that even a narrow list shows: prompts that differ in these are told apart as they are."""

LEAST_CHARS = 12
"""Characters that rows must share before a line or a sentence is left out."""

WINDOW = SHOWN_CHARS - 4
"""Characters before the first difference in which a row may begin."""

READ_CHARS = 8_000
"""Characters of a prompt in which a long common beginning is looked for."""

HEAD_CHARS = 24
"""Characters that prompts must share before a long common beginning is looked for."""

HEADS = 256
"""Common beginnings that are remembered, and first prompts that may have one."""

EARLY = 16
"""Prompts of a common beginning that are kept until it is known how long it is."""


class Starting(Protocol):
    """A row of a list with the beginning of its prompt."""

    start: str


@dataclass(slots=True)
class _Head:
    """Prompts that begin with the same characters: what all of them share, and the first ones with their rows."""

    common: str
    early: list[tuple[Starting, str]]


class Starts:
    """Gives rows the beginnings of their prompts, one by one, without keeping the prompts.

    An instruction of thousands of characters that prompts begin with is found on the way: of each prompt that begins
    like others, the piece around the end of what is common is kept. `shorten` then cuts rows where they differ.
    """

    def __init__(self) -> None:
        self._heads: dict[str, _Head] = {}
        self._singles: dict[str, tuple[Starting, str]] = {}

    def add(self, row: Starting, prompt: str) -> None:
        """Give a row the beginning of its prompt, twice as long as is kept."""
        text = prompt.lstrip() if prompt[:1].isspace() else prompt
        row.start = text[: 2 * START_CHARS]
        if len(text) <= 2 * START_CHARS or (head := self._head(row, text)) is None:
            return
        if not text.startswith(head.common):
            head.common = head.common[: common_length(head.common, text)]
        if len(head.early) < EARLY:
            head.early.append((row, text[:READ_CHARS]))
        else:
            row.start = _around(text, len(head.common))

    def shorten(self, rows: Iterable[Starting]) -> None:
        """Let rows that begin alike begin where they differ; called once these rows are added."""
        for head in self._heads.values():
            for row, text in head.early:
                row.start = _around(text, len(head.common))
            head.early.clear()
        first: dict[str, Starting] = {}
        alike: dict[str, list[Starting]] = {}
        for row in rows:
            key = _key(row.start)
            if (other := first.setdefault(key, row)) is not row:
                alike.setdefault(key, [other]).append(row)
        for key, row in first.items():
            same = alike.get(key, [])
            places = _places({one.start for one in same}) if same else {}
            for one in same or [row]:
                place = places.get(one.start, 0)
                one.start = sys.intern(_from(one.start, place) if place else one.start[:START_CHARS])

    def _head(self, row: Starting, text: str) -> _Head | None:
        """What prompts that begin like this one share; None for the first of them."""
        begin = text[:HEAD_CHARS]
        if (head := self._heads.get(begin)) is not None:
            return head
        single = self._singles.pop(begin, None)
        if single is None or len(self._heads) == HEADS:
            if len(self._singles) == HEADS:  # none of them has come again for so long
                self._singles.clear()
            self._singles[begin] = row, text[:READ_CHARS]
            return None
        head = self._heads[begin] = _Head(single[1], [single])
        return head


def common_length(one: str, other: str) -> int:
    """The number of characters that two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _around(text: str, end: int) -> str:
    """The piece of a prompt around the end of what it shares with others."""
    begin = max(0, end - START_CHARS)
    return text[begin : begin + 2 * START_CHARS]


def _places(texts: set[str]) -> dict[str, int]:
    """Where each of different texts is best read from, so that it differs from all others soon."""
    ordered = sorted(texts)
    shared = [0, *(common_length(one, other) for one, other in pairwise(ordered)), 0]
    return {text: _place(text, max(shared[at], shared[at + 1])) for at, text in enumerate(ordered)}


def _key(start: str) -> str:
    """What rows share at least before anything is left out: a short first line, or some characters."""
    key = start[:LEAST_CHARS]
    return key.partition("\n")[0] if "\n" in key else key


def _place(text: str, difference: int) -> int:
    """The begin of a line, else of a sentence, else of a word, shortly before the first difference."""
    for ends in (("\n",), (". ", ": ", "? ", "! ", "。")):
        found = max(_last(text, ends, difference - WINDOW, difference))
        if found > 0 and text[found:].strip():
            return found
    if difference < SHOWN_CHARS:
        return 0
    space = text.find(" ", difference - WINDOW, difference)
    return space + 1 if space >= 0 else difference


def _last(text: str, ends: tuple[str, ...], low: int, high: int) -> Iterator[int]:
    """Behind the last of each of these separators that ends in a range; -1 where there is none."""
    for end in ends:
        found = text.rfind(end, max(0, low - len(end)), high)
        yield found + len(end) if found >= 0 else -1


def _from(text: str, place: int) -> str:
    """A row's text from a place on, with an ellipsis unless that begins a line."""
    if not place:
        return text[:START_CHARS]
    cut = "" if text[place - 1] == "\n" else "…"
    return f"{cut}{text[place : place + START_CHARS]}"
