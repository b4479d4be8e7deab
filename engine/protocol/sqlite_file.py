"""Reading SQLite files of a run, which somebody may have sent: they hold tables, and nothing that computes.

A view or a trigger is a program, and so are a computed column and a condition of a table: one could run without an
end, or make values of any size.
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

MOST_VALUE_BYTES = 64 * 2**20
"""Of a text in a table; a default of a column can give any number of rows a long one."""

_PROGRAMS = """
SELECT type, name FROM sqlite_master
WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%' OR sql LIKE '%CHECK%(%' OR length(sql) > 10000
UNION ALL
SELECT 'computed column', column.name FROM sqlite_master AS tables, pragma_table_xinfo(tables.name) AS column
WHERE tables.type = 'table' AND column.hidden > 1
LIMIT 1
"""


@contextmanager
def reading(path: Path, *, immutable: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that only reads; an `immutable` file is one that nobody writes meanwhile.

    Raises sqlite3.Error where the file is damaged, missing or holds programs, OddFileError where it is no file.
    """
    import sqlite3  # a list of runs needs none

    plain_file.check(path)
    options = "mode=ro&immutable=1" if immutable else "mode=ro"
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, timeout=BUSY_S)) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE_BYTES)
        refuse_programs(connection)
        yield connection


def refuse_programs(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError where a file holds a view, a trigger, or a table that computes."""
    import sqlite3

    if (found := connection.execute(_PROGRAMS).fetchone()) is not None:
        raise sqlite3.DatabaseError(f"it holds a {found[0]} that this program did not make: {str(found[1])[:60]!r}")
