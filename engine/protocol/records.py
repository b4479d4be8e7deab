"""Records to and from JSON objects: another version, another hand or a failing disk may have written these.

One mechanism reads every row, event, command and status: msgspec checks each field's type, however deep it lies, leaves
out the fields that a class does not know, and fills in the defaults of those that are missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from engine.protocol import jsonl
from engine.protocol.errors import DamagedError
from engine.protocol.limits import MOST_CALLS, MOST_COUNTED, MOST_PAIRS, MOST_ROUNDS, MOST_USD

Record = TypeVar("Record", bound=msgspec.Struct)

Points = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
"""A score or a difference of scores; the limits keep out infinities and what is no number."""

Score = Annotated[float, msgspec.Meta(ge=1, le=100)]
"""A judge's or a person's score."""

RoundNumber = Annotated[int, msgspec.Meta(ge=0, le=MOST_ROUNDS)]
"""A round; 0 is that of the untuned model."""

PairCount = Annotated[int, msgspec.Meta(ge=1, le=MOST_PAIRS)]
"""A number of new pairs."""

Usd = Annotated[float, msgspec.Meta(ge=0, le=MOST_USD)]
"""A cap in USD."""

Counted = Annotated[int, msgspec.Meta(ge=0, le=int(MOST_COUNTED))]
"""Bytes, rows or tokens, as a file says."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
"""A duration, or a time since the epoch."""

Calls = Annotated[int, msgspec.Meta(ge=0, le=MOST_CALLS)]
"""A cap in calls."""


def to_row(record: msgspec.Struct) -> dict[str, Any]:
    """The JSON object of a record."""
    row: dict[str, Any] = msgspec.to_builtins(record)
    return row


def build(form: type[Record], row: object) -> Record:
    """A record from a JSON object. Raises ValueError where a field is missing or of another type."""
    return msgspec.convert(row, form)


def parse(form: type[Record], line: bytes) -> Record:
    """A record from a JSON text. Raises ValueError where it is none."""
    try:
        return msgspec.json.decode(line, type=form)
    except (ValueError, RecursionError):
        return build(form, jsonl.loads(line))  # Python's own reader takes NaN and lone surrogates, too


def read(path: Path, form: type[Record]) -> Iterator[Record]:
    """The rows of a JSONL file that we wrote, as far as its lines are whole. Raises DamagedError at other lines."""
    for number, line in enumerate(jsonl.lines(path), start=1):
        try:
            yield parse(form, line)
        except ValueError as error:
            raise DamagedError(path, f"line {number}: {error}") from None
