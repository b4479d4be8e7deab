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

NO_ROOM = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY}
)
"""Errors of the disk, or of another process that works on the file: they may pass."""

AGAIN_S, MOST_WAITING = 1.0, 20_000
"""Seconds between two tries to write what waits for such an error to pass, and how many commits may wait."""

Statement = tuple[str, Sequence[Any]]
"""SQL, and the values for its placeholders."""

Pending = tuple[tuple[Statement, ...], Future[None]]
"""Statements that are committed together, and who waits for that."""


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
        waits: Callable[[str], None] | None = None,
    ) -> None:
        """`upgrade` changes the tables of an older version before the schema adds what is missing.

        Where `waits` is given, statements that the disk has no room for count as written and wait in memory, in their
        order, until it has; `waits` is told, from another thread, when that begins and when it is over.
        """
        self._gather_s = gather_s
        self._waits, self._waiting, self._again_at = waits, list[Pending](), 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)
        self._pending: deque[Pending] = deque()
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
        """Commit all that is pending or waits; nothing is, where an earlier caller's commit included it."""
        if not self._pending and not self._waiting:
            return
        if self._gather_s:
            time.sleep(self._gather_s)
        batch = [self._pending.popleft() for _ in range(len(self._pending))]
        few = len(self._waiting) + len(batch) <= MOST_WAITING
        if few and time.monotonic() < self._again_at:
            self._let_wait(batch)
            return
        waited, batch, self._waiting = bool(self._waiting), [*self._waiting, *batch], []
        try:
            self._execute(chain.from_iterable(statements for statements, _ in batch))
        except sqlite3.Error as failed:
            if few and self._waits is not None and _no_room(failed):
                if not waited:
                    self._waits(f"the disk takes no rows ({failed}): they wait in memory")
                self._let_wait(batch)
                self._again_at = time.monotonic() + AGAIN_S
            else:
                self._one_by_one(batch)
            return
        for _, done in batch:
            if not done.done():
                done.set_result(None)
        if waited and self._waits is not None:
            self._again_at = 0.0
            self._waits(f"the disk takes rows again: {len(batch):,} statements that waited are written")

    def _let_wait(self, batch: list[Pending]) -> None:
        """Count statements as written that are not yet."""
        self._waiting += batch
        for _, done in batch:
            if not done.done():
                done.set_result(None)

    def _one_by_one(self, batch: list[Pending]) -> None:
        """Commit what can be: one caller's failure is not another's. What waited and fails again waits on."""
        for statements, done in batch:
            try:
                self._execute(statements)
            except sqlite3.Error as error:
                if done.done():
                    self._waiting.append((statements, done))
                else:
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(None)

    def _execute(self, statements: Iterable[Statement]) -> None:
        with self._connection:
            for statement, values in statements:
                self._connection.execute(statement, values)


def _no_room(error: sqlite3.Error) -> bool:
    """Whether an error is of the disk, or of another process that works on the file, and may pass."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in NO_ROOM


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
