"""The journal: who answered each request, why, how fast and for how much; without contents unless they are wanted.

A row is opened when a request comes in and closed before its reply ends, each committed by then, so a request stands in
it exactly once and a killed door leaves open rows behind. The next door closes those as `lost`. A commit waits for no
disk where that is this machine's own: after a power cut the requests of the last seconds may be missing. A full disk
keeps no request from its answer: rows wait in memory until it has room.
"""

from __future__ import annotations

import time
import uuid
from asyncio import wrap_future
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil

from engine.protocol.decision import Interval
from engine.protocol.journal_reading import journal_of
from engine.protocol.takeover import Mode, Side
from engine.protocol.terminal import one_line
from engine.service.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    door TEXT NOT NULL,
    opened REAL NOT NULL,
    mode TEXT NOT NULL,
    path TEXT NOT NULL,
    client_id TEXT NOT NULL,
    stream INTEGER,
    outcome TEXT,
    answered_by TEXT,
    reason TEXT,
    status INTEGER,
    first_s REAL,
    total_s REAL,
    service_s REAL,
    local_s REAL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    cost_usd REAL,
    saved_usd REAL,
    confidence REAL,
    request TEXT,
    reply TEXT
);
CREATE INDEX IF NOT EXISTS requests_by_time ON requests (opened);
CREATE INDEX IF NOT EXISTS requests_open ON requests (door) WHERE outcome IS NULL;
CREATE TABLE IF NOT EXISTS compared (
    request TEXT NOT NULL,
    time REAL NOT NULL,
    difference REAL NOT NULL,
    same INTEGER NOT NULL,
    note TEXT NOT NULL,
    prompt TEXT,
    service TEXT,
    local TEXT
);
CREATE TABLE IF NOT EXISTS course (
    compared INTEGER NOT NULL,
    time REAL NOT NULL,
    mean REAL NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    share REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS changes (
    id TEXT PRIMARY KEY,
    time REAL NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    why TEXT NOT NULL
);
"""
"""`opened` and `time` are in seconds since the epoch; `door` is the pid and the start of the process. `first_s` is
until the reply began, `service_s` and `local_s` are what each side took, where it was asked. `cost_usd` is what the
service took for this request, with the calls of comparisons, `saved_usd` what it would have taken for what the local
model answered; tokens that no side counts are estimated. `request` and `reply` are NULL unless contents are kept.
`course` has where the canary stood after each comparison: the mean difference of all so far, its bounds, and the share
that they allow."""

OPEN = """
INSERT INTO requests (key, door, opened, mode, path, client_id) VALUES (?, ?, ?, ?, ?, ?)
"""
CLOSE = """
UPDATE requests SET outcome = ?, answered_by = ?, reason = ?, status = ?, first_s = ?, total_s = ?, service_s = ?,
local_s = ?, prompt_tokens = ?, completion_tokens = ?, cost_usd = ?, saved_usd = ?, confidence = ?, stream = ?,
request = ?, reply = ?
WHERE key = ?
"""
LOST = "UPDATE requests SET outcome = 'lost', reason = 'the door ended' WHERE outcome IS NULL AND door = ?"

MOST_NAME = 100
"""Characters of a text of the client's in the journal."""


class Outcome(StrEnum):
    """How a request ended.

    answered: with a reply of a side, an error of the client's included. failed: with an error. refused: by the door
    itself. broken off: an answer that began and broke. left: the client went away. lost: the door was killed.
    """

    ANSWERED = "answered"
    FAILED = "failed"
    REFUSED = "refused"
    BROKEN_OFF = "broken off"
    LEFT = "left"
    LOST = "lost"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request, filled in while it is answered."""

    mode: Mode
    path: str
    client_id: str = ""
    stream: bool = False
    request: str | None = None
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    opened: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    outcome: Outcome | None = None
    answered_by: Side = Side.NOBODY
    reason: str = ""
    status: int | None = None
    first_s: float | None = None
    service_s: float | None = None
    local_s: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float = 0.0
    saved_usd: float = 0.0
    confidence: float | None = None
    reply: str | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the request came in."""
        return time.monotonic() - self.began


class Journal:
    """One door's connection to the journal."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600, exist_ok=True)
        process = psutil.Process()
        self.door = f"{process.pid}:{process.create_time():.2f}"
        self._database = Database(
            path, SCHEMA, gather_s=0.0, quick=True, waits=lambda told: print(f"the journal: {told}", flush=True)
        )

    def open(self, entry: Entry) -> Future[None]:
        """Record a request that has come in; the result is there once that is committed."""
        values = (
            *(entry.key, self.door, entry.opened, entry.mode.value, one_line(entry.path)[:MOST_NAME]),
            one_line(entry.client_id)[:MOST_NAME],
        )
        return self._database.later((OPEN, values))

    async def close_entry(self, entry: Entry, outcome: Outcome) -> None:
        """Record how a request ended; returns once that is committed. A second end of the same request is ignored."""
        if entry.outcome is not None:
            return
        entry.outcome = outcome
        values = (
            *(outcome.value, entry.answered_by.value, one_line(entry.reason)[:300], entry.status, entry.first_s),
            *(round(entry.elapsed, 6), entry.service_s, entry.local_s, entry.prompt_tokens, entry.completion_tokens),
            *(
                entry.cost_usd,
                entry.saved_usd,
                entry.confidence,
                int(entry.stream),
                _whole_text(entry.request),
                _whole_text(entry.reply),
                entry.key,
            ),
        )
        await self._database.write(CLOSE, values)

    def compared(self, key: str, difference: float, same: bool, note: str, texts: tuple[str, str, str] | None) -> None:
        """Record a comparison; `texts` are prompt, service's and local answer, where contents are kept."""
        values = (
            key,
            time.time(),
            difference,
            int(same),
            one_line(note)[:300],
            *map(_whole_text, texts or (None, None, None)),
        )
        self._database.later(("INSERT INTO compared VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values))

    def cost(self, key: str, usd: float) -> None:
        """Add what a comparison took to the cost of its request."""
        self._database.later(("UPDATE requests SET cost_usd = COALESCE(cost_usd, 0) + ? WHERE key = ?", (usd, key)))

    def took(self, key: str, *, local_s: float | None = None, service_s: float | None = None, note: str = "") -> None:
        """Add the seconds of the side that was asked as the second, for a comparison, and why it gave no answer."""
        statement = """
            UPDATE requests SET local_s = COALESCE(?, local_s), service_s = COALESCE(?, service_s),
            reason = CASE ? WHEN '' THEN reason ELSE reason || '; local: ' || ? END WHERE key = ?
        """
        note = one_line(note)[:200]
        self._database.later((statement, (local_s, service_s, note, note, key)))

    def stands(self, compared: int, difference: Interval, share: float) -> None:
        """Record where the canary stands after so many comparisons."""
        values = (compared, time.time(), difference.mean, difference.low, difference.high, share)
        self._database.later(("INSERT INTO course VALUES (?, ?, ?, ?, ?, ?)", values))

    def changed(self, who: str, what: str, why: str = "", id_: str = "") -> Future[None]:
        """Record a change of mode or share; one with the id of an earlier one is ignored."""
        values = (id_ or uuid.uuid4().hex, time.time(), one_line(who)[:MOST_NAME], what, one_line(why)[:500])
        return self._database.later(("INSERT OR IGNORE INTO changes VALUES (?, ?, ?, ?, ?)", values))

    async def applied(self) -> set[str]:
        """The ids of the changes so far."""
        return {row[0] for row in await wrap_future(self._database.all_rows("SELECT id FROM changes"))}

    async def close_lost(self) -> int:
        """Close the open rows of doors that have ended; returns how many there were."""
        doors = await wrap_future(self._database.all_rows("SELECT DISTINCT door FROM requests WHERE outcome IS NULL"))
        lost = 0
        for (door,) in doors:
            if not _alive(door):
                (row,) = await wrap_future(
                    self._database.all_rows("SELECT COUNT(*) FROM requests WHERE outcome IS NULL AND door = ?", (door,))
                )
                lost += row[0]
                await self._database.write(LOST, (door,))
        return lost

    def close(self) -> None:
        """Finish what is pending and close the file."""
        self._database.close()


def _whole_text(text: str | None) -> str | None:
    """A text without the halves of characters, lone surrogates, which no database takes."""
    return None if text is None else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _alive(door: str) -> bool:
    pid, _, started = door.partition(":")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < 1.0
    except (psutil.Error, ValueError):
        return False


def rows(path: Path, query: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The rows of a query, read by another process than the door; none without a journal. Raises LlamaDuoError."""
    if not path.exists():
        return []
    with journal_of(path) as database:
        return database.execute(query, values).fetchall()
