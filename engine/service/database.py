"""An SQLite file behind its own thread: the event loop never waits for a disk, concurrent writes share a commit.

The journal mode is DELETE, since write-ahead logs are unsafe on network file systems. A commit then waits for the disk
several times, some 15 ms on a slow one. A database that is `quick` has a write-ahead log on a disk of this machine: a
commit is there for other processes and outlives this one at once (0.1 ms), and a power cut may take the last ones,
which the disk gets within half a minute, but damages nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from engine.protocol import plain_file
from engine.protocol.file_systems import is_local
from engine.protocol.sqlite_file import refuse_programs

GATHER_S = 0.02
"""Seconds that a commit waits for more writes: nothing next to a service's response time."""

BUSY_S = 10.0
"""Seconds to wait for another process that is writing."""

Statement = tuple[str, Sequence[Any]]
"""SQL, and the values for its placeholders."""


class Database:
    """One connection; statements run one after the other, in the order of the calls."""

    def __init__(
        self,
        path: Path,
        schema: str,
        upgrade: Callable[[sqlite3.Connection], None] = lambda _: None,
        *,
        gather_s: float = GATHER_S,
        quick: bool = False,
    ) -> None:
        """`upgrade` changes the tables of an older version before the schema adds what is missing."""
        self._gather_s = gather_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)
        self._pending: deque[tuple[tuple[Statement, ...], Future[None]]] = deque()
        self._connection = self._thread.submit(_open, path, schema, upgrade, quick).result()

    async def row(self, query: str, values: Sequence[Any] = ()) -> Any:
        """The first row of a query's result, or None."""
        return await asyncio.wrap_future(self._thread.submit(self._row, query, values))

    def rows(self, query: str) -> list[Any]:
        """All rows of a query's result, for callers without an event loop."""
        return self._thread.submit(self._rows, query).result()

    def all_rows(self, query: str, values: Sequence[Any] = ()) -> Future[list[Any]]:
        """All rows of a query's result, once it has been run."""
        return self._thread.submit(lambda: self._connection.execute(query, values).fetchall())

    async def write(self, statement: str, values: Sequence[Any]) -> None:
        """Returns once the statement is committed; it is carried out even where the caller is cancelled."""
        await asyncio.wrap_future(self.later((statement, values)))

    async def write_together(self, *statements: Statement) -> None:
        """As `write`: all of them are committed, or none."""
        await asyncio.wrap_future(self.later(*statements))

    def later(self, *statements: Statement) -> Future[None]:
        """As `write_together`, for callers that need not wait."""
        done = Future[None]()
        done.set_running_or_notify_cancel()  # it is carried out, also where the caller is cancelled
        self._pending.append((statements, done))
        self._thread.submit(self._commit)
        return done

    def close(self) -> None:
        """Finish pending statements, then close the file."""
        self._thread.submit(self._commit)  # of cancelled callers; the others have seen their result
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        with suppress(sqlite3.OperationalError):  # another process works on it, and has the log
            self._connection.execute("PRAGMA journal_mode=DELETE")
        self._connection.close()

    def _rows(self, query: str) -> list[Any]:
        return self._connection.execute(query).fetchall()

    def _row(self, query: str, values: Sequence[Any]) -> Any:
        return self._connection.execute(query, values).fetchone()

    def _commit(self) -> None:
        """Commit all that is pending; nothing is, where an earlier caller's commit included it."""
        if not self._pending:
            return
        if self._gather_s:
            time.sleep(self._gather_s)
        batch = [self._pending.popleft() for _ in range(len(self._pending))]
        try:
            self._execute(chain.from_iterable(statements for statements, _ in batch))
        except sqlite3.Error:  # one caller's failure is not another's
            for statements, done in batch:
                try:
                    self._execute(statements)
                except sqlite3.Error as error:
                    done.set_exception(error)
                else:
                    done.set_result(None)
        else:
            for _, done in batch:
                done.set_result(None)

    def _execute(self, statements: Iterable[Statement]) -> None:
        with self._connection:
            for statement, values in statements:
                self._connection.execute(statement, values)


def _open(path: Path, schema: str, upgrade: Callable[[sqlite3.Connection], None], quick: bool) -> sqlite3.Connection:
    plain_file.check(path)
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    wanted = "WAL" if quick and is_local(path) else "DELETE"
    (mode,) = connection.execute(f"PRAGMA journal_mode={wanted}").fetchone()
    if mode == "wal":
        connection.execute("PRAGMA synchronous=NORMAL")
    try:
        refuse_programs(connection)
        upgrade(connection)
        connection.executescript(schema)
    except BaseException:
        connection.close()
        raise
    return connection
