"""One raw record of a coverage dataset, and why a row cannot be used; knows nothing about files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from engine.protocol.rows import RowMixin

MAX_ROW = 1_000_000
"""Bytes of the largest row that is used."""

TOO_LARGE = "larger than 1 MB"

SHOWN = 2000
"""Characters that are kept of a dropped row."""


class RowError(Exception):
    """A record that cannot be used; its text is the reason, "kind: detail" or the kind alone.

    The other records are not affected.
    """


class Number(float):
    """A number that keeps its spelling: "4.50", "1e22". As JSON it is a number like any other."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, spelling: str | float) -> Number:
        number = float.__new__(cls, spelling)
        number.text = str(spelling)
        return number

    def __str__(self) -> str:
        return self.text


def spelled(text: str) -> Number:
    """A number of a JSON text; faster than the class, for it is called for each one of a file."""
    number = float.__new__(Number, text)
    number.text = text
    return number


@dataclass(frozen=True, slots=True)
class Binary:
    """Bytes of a table's column that are not text."""

    size: int

    def __str__(self) -> str:
        return f"({self.size} bytes that are not text)"


def unreadable(value: object) -> NoReturn:
    """Raise RowError for a value that has no JSON form: the `default` for json.dumps of a record's parts."""
    if isinstance(value, Binary):
        raise RowError(f"binary: {value.size} bytes that are not text")
    raise RowError(f"not a value of JSON: {type(value).__name__}")


class Dropped(RowMixin, frozen=True):
    """A row that is not used: its line (or number), the reason, its text cut short, and the id of its twin if any.

    `file` is its source's label: "tickets.jsonl", "org/name:train".
    """

    line: int
    reason: str
    row: str
    twin: str = ""
    file: str = ""

    @property
    def kind(self) -> str:
        """The reason without its details, by which rows are counted."""
        return self.reason.partition(":")[0]

    @property
    def place(self) -> str:
        """Where the row is: "tickets.jsonl:7"."""
        return f"{self.file}:{self.line}" if self.file else f"line {self.line}"


class Record(NamedTuple):
    """A row as it was read; `raw` is its text where the container has one.

    `file` is its source's label, as in `Dropped`; `container` says what it was in: "JSONL", "CSV", "Parquet" ...
    """

    line: int
    value: Any
    raw: str | None = None
    file: str = ""
    container: str = ""

    def dropped(self, reason: str, twin: str = "") -> Dropped:
        """This row as one that is not used."""
        row = shown(self.value) if self.raw is None else self.raw[:SHOWN]
        return Dropped(self.line, reason, row, twin, self.file)


def shown(value: Any) -> str:
    """A value as JSON, cut to a length that a person reads."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)[:SHOWN]
    except RecursionError:
        return "(nested too deeply to show)"
