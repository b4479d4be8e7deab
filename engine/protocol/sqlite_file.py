"""Reading SQLite files of a run, which somebody may have sent: they hold tables, and nothing that computes.

A view or a trigger is a program: one in the place of a table could run without an end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.protocol import plain_file

if TYPE_CHECKING:
    import sqlite3

BUSY_S = 5.0
"""Seconds to wait for another process that is writing."""

_PROGRAMS = (
    "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%' LIMIT 1"
)


@contextmanager
def reading(path: Path, *, immutable: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that only reads; an `immutable` file is one that nobody writes meanwhile.

    Raises sqlite3.Error where the file is damaged, missing or holds programs, OddFileError where it is no file.
    """
    import sqlite3  # a list of runs needs none

    plain_file.check(path)
    options = "mode=ro&immutable=1" if immutable else "mode=ro"
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, timeout=BUSY_S)) as connection:
        refuse_programs(connection)
        yield connection


def refuse_programs(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError where a file holds a view, a trigger or a virtual table."""
    import sqlite3

    if (found := connection.execute(_PROGRAMS).fetchone()) is not None:
        raise sqlite3.DatabaseError(f"it holds a {found[0]} that this program did not make: {str(found[1])[:60]!r}")
