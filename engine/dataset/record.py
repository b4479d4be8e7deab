"""One raw record of a coverage dataset, and why a row cannot be used; knows nothing about files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.protocol.rows import RowMixin

MAX_ROW = 1_000_000
"""Bytes of the largest row that is used."""

TOO_LARGE = "larger than 1 MB"

SHOWN = 2000
"""Characters that are kept of a dropped row."""


class RowError(Exception):
    """A record that cannot be used; its text is the reason. The other records are not affected."""


@dataclass(frozen=True, slots=True)
class Dropped(RowMixin):
    """A row that is not used: its line (or number), the reason, its text cut short, and the id of its twin if any."""

    line: int
    reason: str
    row: str
    twin: str = ""


class Record(NamedTuple):
    """A row as it was read; `raw` is its text where the format has one."""

    line: int
    value: Any
    raw: str | None = None

    def dropped(self, reason: str, twin: str = "") -> Dropped:
        """This row as one that is not used."""
        return Dropped(self.line, reason, shown(self.value) if self.raw is None else self.raw[:SHOWN], twin)


def shown(value: Any) -> str:
    """A value as JSON, cut to a length that a person reads."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)[:SHOWN]
    except RecursionError:
        return "(nested too deeply to show)"
