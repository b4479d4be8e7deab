"""The ledger: every paid service call with its cost, in SQLite, so that nothing is paid twice.

One process writes it. A completion is committed before anything uses it. A call is recorded before it is sent: a call
that a crash interrupts was most likely paid for, and counts against the budget from then on.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.protocol.errors import LlamaDuoError
from engine.protocol.jsonl import Row
from engine.service import jobs
from engine.service.completion import Completion, Request
from engine.service.database import Database, Statement
from engine.service.jobs import Job, Jobs

CALLS = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    asked REAL NOT NULL,
    answered REAL,
    reply TEXT,
    finish_reason TEXT,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL NOT NULL DEFAULT 0,
    answered_by TEXT,
    fingerprint TEXT,
    usable INTEGER
);
CREATE INDEX IF NOT EXISTS calls_by_key ON calls (key);
"""
FLIGHTS = """
CREATE TABLE IF NOT EXISTS flights (
    key TEXT NOT NULL,
    began REAL NOT NULL,
    cost_usd REAL NOT NULL,
    PRIMARY KEY (key, began)
) WITHOUT ROWID;
"""
"""One row a paid call: `key` names the request that it answers, `request` is what was sent, which corrections and the
model's terms may have changed. `asked` and `answered` are in seconds since the epoch; `usable` is 0 for a reply that
could not be read, NULL while nobody has tried. `flights` are the calls in flight and the interrupted ones."""

COPY_OLD_CALLS = """
INSERT INTO calls
    (key, model, request, asked, answered, reply, finish_reason, prompt_tokens, completion_tokens, cost_usd)
SELECT key, model, request, asked, answered, reply, finish_reason, prompt_tokens, completion_tokens, cost_usd
FROM old_calls;
"""
"""Older ledgers kept one call a key."""

USABLE_KEYS = "SELECT DISTINCT key, model FROM calls WHERE answered IS NOT NULL AND usable IS NOT 0"
ANSWERERS = "SELECT model, answered_by, fingerprint FROM calls GROUP BY 1, 2, 3 ORDER BY MIN(answered)"
NEWEST_USABLE = """
SELECT reply, finish_reason, prompt_tokens, completion_tokens, cost_usd, answered_by, fingerprint FROM calls
WHERE key = ? AND answered IS NOT NULL AND usable IS NOT 0 ORDER BY answered DESC
"""

DELETE_IN_FLIGHT = "DELETE FROM flights WHERE key = ? AND began = ?"


LOST = "lost"
"""The key of the calls whose records are lost: no request has it."""

RESTORE = "restore it from a copy, or remove it and resume: the run then asks before it pays for anything again"
"""What to do about a damaged ledger."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all paid calls."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(slots=True)
class InFlightCall:
    """A call that costs at most `max_cost` USD; `interrupted` where it was sent and its response is lost.

    `key` is the digest of the request that it answers; `request` and `params` are what is sent.
    """

    key: str
    request: Request
    params: Mapping[str, Any]
    started: float
    max_cost: float
    interrupted: bool = False


class Ledger:
    """Opened by the one worker of a run; raises LlamaDuoError where the file is damaged."""

    def __init__(self, path: Path) -> None:
        try:
            self._database = Database(path, CALLS + FLIGHTS + jobs.SCHEMA, upgrade=_upgrade)
        except sqlite3.OperationalError:  # a full disk, or a lock: the file itself may be whole
            raise
        except sqlite3.DatabaseError as error:
            raise LlamaDuoError(f"{path}: damaged ledger: {error}", RESTORE) from None
        if problem := self._damage():
            self._database.close()
            raise LlamaDuoError(f"{path}: damaged ledger: {problem}", RESTORE)
        self.jobs = Jobs(self._database)
        self._interrupted: defaultdict[str, list[float]] = defaultdict(list)
        for key, cost in self._database.rows("SELECT key, cost_usd FROM flights"):
            self._interrupted[key].append(cost)
        rows = self._database.rows(USABLE_KEYS)
        self._keys = {key for key, _ in rows}
        self.readable = {model for _, model in rows}
        """The models of which at least one reply could be read."""
        self.answerers: defaultdict[str, dict[tuple[str, str], None]] = defaultdict(dict)
        """By model asked: the names and fingerprints that answered, in the order of their first answers."""
        for model, *who in self._database.rows(ANSWERERS):
            if who[0]:
                self.answerers[model][who[0], who[1] or ""] = None

    async def completion(self, request: Request) -> Completion | None:
        """The newest completion of an earlier, identical request that could be read, or that nobody has read yet."""
        key = request.digest
        if key not in self._keys:
            return None
        row = await self._database.row(NEWEST_USABLE, (key,))
        text, finish_reason, prompt_tokens, completion_tokens, cost_usd, name, fingerprint = row
        return Completion(
            text,
            finish_reason,
            prompt_tokens,
            completion_tokens,
            cost_usd,
            cached=True,
            model=name or "",
            fingerprint=fingerprint or "",
        )

    def reject(self, request: Request) -> None:
        """Mark the completions of a request as unreadable: they stay paid, and the request is sent again."""
        self._keys.discard(request.digest)
        self._database.later(("UPDATE calls SET usable = 0 WHERE key = ?", (request.digest,)))

    @property
    def interrupted_costs(self) -> list[float]:
        """The most that each call may have cost, in USD, which a crash or a stop interrupted."""
        return [cost for costs in self._interrupted.values() for cost in costs]

    async def start(self, call: InFlightCall) -> None:
        """Record a call that is about to be sent, until it is settled or withdrawn."""
        await self._database.write("INSERT INTO flights VALUES (?, ?, ?)", (call.key, call.started, call.max_cost))

    def withdraw(self, call: InFlightCall) -> None:
        """Remove a call that was not sent, or that the service refused."""
        self._database.later((DELETE_IN_FLIGHT, (call.key, call.started)))

    def interrupt(self, call: InFlightCall) -> None:
        """Count a call as paid whose response is lost: it stays recorded."""
        self._interrupted[call.key].append(call.max_cost)

    async def settle(self, call: InFlightCall, completion: Completion, *, usable: bool) -> float:
        """Record the completion of a call; returns by how much interrupted calls of the same request get cheaper.

        Each is assumed to have cost what this one did, instead of the most it could.
        """
        key = call.key
        interrupted = self._interrupted[key]
        await self._database.write_together(
            (DELETE_IN_FLIGHT, (key, call.started)),
            *[("UPDATE flights SET cost_usd = ? WHERE key = ?", (completion.cost_usd, key)) for _ in interrupted[:1]],
            _insertion(key, {**call.request.to_row(), "params": dict(call.params)}, completion, call.started, usable),
        )
        if usable:
            self._keys.add(key)
            self.readable.add(call.request.model)
        self._interrupted[key] = [completion.cost_usd] * len(interrupted)
        return sum(interrupted) - sum(self._interrupted[key])

    async def settle_job(self, job: Job, completions: dict[str, Completion]) -> None:
        """Record the completions of a batch job, by key, and remove the job: both or neither."""
        insertions = [
            _insertion(key, job.requests[key].to_row(), completion, job.started, None)
            for key, completion in completions.items()
        ]
        await self._database.write_together(*insertions, *jobs.removal(job))
        self._keys |= completions.keys()

    async def record(self, request: Request, completion: Completion, sent: float) -> None:
        """Record the readable completion of a request that was sent at `sent`, in seconds since the epoch."""
        await self._database.write(*_insertion(request.digest, request.to_row(), completion, sent, True))
        self._keys.add(request.digest)
        self.readable.add(request.model)

    @property
    def replies(self) -> int:
        """How many replies it has, with those that an earlier run paid for."""
        return int(self._database.rows("SELECT COUNT(*) FROM calls WHERE answered IS NOT NULL")[0][0])

    def make_up(self, calls: int, usd: float) -> None:
        """Count calls whose records are lost as interrupted ones, which together have cost so much."""
        began, cost = time.time(), usd / calls
        rows = [("INSERT INTO flights VALUES (?, ?, ?)", (LOST, began + n / 1e3, cost)) for n in range(calls)]
        self._database.later(*rows).result()
        self._interrupted[LOST] += [cost] * calls

    @property
    def made_up_usd(self) -> float:
        """USD of the calls whose records are lost, as `make_up` counted them."""
        return sum(self._interrupted[LOST])

    def _damage(self) -> str:
        """What SQLite finds wrong with the file as a whole; "" for nothing."""
        try:
            (found,) = self._database.rows("PRAGMA quick_check(1)")[0]
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return str(error)
        return "" if found == "ok" else " ".join(str(found).split())

    def totals(self) -> Totals:
        """What was paid so far; a completion that an earlier run paid for took no tokens and is no call."""
        (row,) = self._database.rows(
            "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0),"
            " COALESCE(SUM(cost_usd), 0.0) FROM calls WHERE answered IS NOT NULL AND prompt_tokens > 0"
        )
        return Totals(*row)

    def close(self) -> None:
        self._database.close()


def _insertion(key: str, request: Row, completion: Completion, sent: float, usable: bool | None) -> Statement:
    return (
        "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            request["model"],
            json.dumps(request),
            sent,
            time.time(),
            completion.text,
            completion.finish_reason,
            completion.prompt_tokens,
            completion.completion_tokens,
            completion.cost_usd,
            completion.model,
            completion.fingerprint,
            usable,
        ),
    )


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring a ledger that kept one call a key to today's columns, in one transaction."""
    columns = [row[1] for row in connection.execute("PRAGMA table_info(calls)")]
    if not columns or "usable" in columns:
        return
    script = [
        "BEGIN;",
        "ALTER TABLE calls RENAME TO old_calls;",
        CALLS,
        COPY_OLD_CALLS,
        "DROP TABLE old_calls;",
        "COMMIT;",
    ]
    connection.executescript("".join(script))
