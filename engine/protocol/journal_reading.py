"""Reads a take-over's journal beside its door: what cannot be read is an error with a next step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.protocol.errors import DamagedError, LlamaDuoError
from engine.protocol.sqlite_file import reading


@contextmanager
def journal_of(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads. Raises DamagedError for a file that is no journal, LlamaDuoError for a busy one."""
    try:
        with reading(path) as database:
            yield database
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise LlamaDuoError(f"{path}: another process is writing it", "try again in a moment") from None
        hint = "restore it from a copy; or end the door, move it away, and a door begins another one"
        raise DamagedError(path, str(error), hint) from None
