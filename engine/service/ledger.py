"""The ledger: every answered service call with its cost, in SQLite, so that nothing is paid twice.

One process writes it. A reply is committed before anybody uses it. A call is announced before it leaves: what a crash
cuts off was most likely paid for, and counts against the budget ever after.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.protocol.errors import LlamaDuoError
from engine.service import jobs
from engine.service.database import Database, Statement
from engine.service.jobs import Job, Jobs

SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    asked REAL NOT NULL,
    answered REAL,
    reply TEXT,
    finish_reason TEXT,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS flights (
    key TEXT NOT NULL,
    began REAL NOT NULL,
    cost_usd REAL NOT NULL,
    PRIMARY KEY (key, began)
) WITHOUT ROWID;
"""

DELETE = "DELETE FROM flights WHERE key = ? AND began = ?"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service answered, and what that cost; `cached` where nothing was asked for it now."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all answered calls."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(slots=True)
class Flight:
    """A call that costs `most` USD at most; `cut_off` where it has left and nobody waits for its answer any more."""

    key: str
    began: float
    most: float
    cut_off: bool = False


def request_key(request: dict[str, Any]) -> str:
    """The SHA-256 of the canonical request: model, messages, parameters, repeat index."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Ledger:
    """Opened by the one worker of a run; raises LlamaDuoError where the file is no ledger."""

    def __init__(self, path: Path) -> None:
        try:
            self._database = Database(path, SCHEMA + jobs.SCHEMA)
        except sqlite3.OperationalError:  # a full disk, or a lock: the file itself may be whole
            raise
        except sqlite3.DatabaseError as error:
            raise LlamaDuoError(
                f"{path}: is damaged: {error}",
                "put it back from a copy; without it paid answers are paid for again, and the budget counts from zero",
            ) from None
        self.jobs = Jobs(self._database)
        self._lost: defaultdict[str, list[float]] = defaultdict(list)
        for key, cost in self._database.rows("SELECT key, cost_usd FROM flights"):
            self._lost[key].append(cost)
        self._keys = {key for (key,) in self._database.rows("SELECT key FROM calls WHERE answered IS NOT NULL")}
        self._models = {model for (model,) in self._database.rows("SELECT DISTINCT model FROM calls")}

    async def reply(self, key: str) -> Reply | None:
        """The answer of an earlier, identical request."""
        if key not in self._keys:
            return None
        row = await self._database.row(
            "SELECT reply, finish_reason, prompt_tokens, completion_tokens, cost_usd FROM calls WHERE key = ?", (key,)
        )
        text, finish_reason, prompt_tokens, completion_tokens, cost_usd = row
        return Reply(text, finish_reason, prompt_tokens, completion_tokens, cost_usd, cached=True)

    def knows(self, model: str) -> bool:
        """Whether the model has answered in this run."""
        return model in self._models

    @property
    def lost(self) -> list[float]:
        """What each call may have cost, in USD, that a crash or a stop has cut off."""
        return [cost for costs in self._lost.values() for cost in costs]

    async def announce(self, flight: Flight) -> None:
        """Note a call that is about to leave, until it lands or is recalled."""
        await self._database.write("INSERT INTO flights VALUES (?, ?, ?)", (flight.key, flight.began, flight.most))

    def recall(self, flight: Flight) -> None:
        """Take back a call that did not leave, or that the service refused."""
        self._database.later((DELETE, (flight.key, flight.began)))

    def lose(self, flight: Flight) -> None:
        """Give up a call that was cut off: it stays noted."""
        self._lost[flight.key].append(flight.most)

    async def land(self, flight: Flight, request: dict[str, Any], reply: Reply) -> float:
        """Keep the answer to a call; returns what lost calls of the same request cost less than was feared.

        They are taken to have cost what this one did.
        """
        key, lost = flight.key, self._lost[flight.key]
        await self._database.write_together(
            (DELETE, (key, flight.began)),
            *[("UPDATE flights SET cost_usd = ? WHERE key = ?", (reply.cost_usd, key)) for _ in lost[:1]],
            _kept(key, request, reply, flight.began),
        )
        self._keys.add(key)
        self._models.add(request["model"])
        self._lost[key] = [reply.cost_usd] * len(lost)
        return sum(lost) - sum(self._lost[key])

    async def keep_job(self, job: Job, replies: dict[str, Reply]) -> None:
        """Keep the answers that a batch job has brought, by key, and be done with the job: both or neither."""
        kept = [_kept(key, job.requests[key], reply, job.began) for key, reply in replies.items()]
        await self._database.write_together(*kept, *jobs.removal(job))
        self._keys |= replies.keys()
        self._models |= {job.model} if replies else set()

    async def keep(self, key: str, request: dict[str, Any], reply: Reply, asked: float) -> None:
        """Keep an answer to a request that was sent at `asked`, in seconds since the epoch."""
        await self._database.write(*_kept(key, request, reply, asked))
        self._keys.add(key)

    def totals(self) -> Totals:
        """What was paid so far; a reply that an earlier run had paid for took no tokens and is no call."""
        (row,) = self._database.rows(
            "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0),"
            " COALESCE(SUM(cost_usd), 0.0) FROM calls WHERE answered IS NOT NULL AND prompt_tokens > 0"
        )
        return Totals(*row)

    def close(self) -> None:
        self._database.close()


def _kept(key: str, request: dict[str, Any], reply: Reply, asked: float) -> Statement:
    return (
        "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(key, request["model"], json.dumps(request), asked, time.time(), reply.text, reply.finish_reason),
            *(reply.prompt_tokens, reply.completion_tokens, reply.cost_usd),
        ),
    )
