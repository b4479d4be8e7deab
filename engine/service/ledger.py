"""The ledger: every paid service call with its cost, in SQLite, so that nothing is paid twice.

One process writes it. A completion is committed before anything uses it. A call is recorded before it is sent: a call
that a crash interrupts was most likely paid for, and counts against the budget from then on.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from engine.protocol.errors import LlamaDuoError
from engine.service import jobs
from engine.service.completion import Completion, Request
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
"""`asked` and `answered` are in seconds since the epoch; `flights` are the calls in flight and the interrupted ones."""

DELETE_IN_FLIGHT = "DELETE FROM flights WHERE key = ? AND began = ?"


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all paid calls."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(slots=True)
class InFlightCall:
    """A call that costs at most `max_cost` USD; `interrupted` where it was sent and its response is lost."""

    request: Request
    started: float
    max_cost: float
    interrupted: bool = False


class Ledger:
    """Opened by the one worker of a run; raises LlamaDuoError where the file is damaged."""

    def __init__(self, path: Path) -> None:
        try:
            self._database = Database(path, SCHEMA + jobs.SCHEMA)
        except sqlite3.OperationalError:  # a full disk, or a lock: the file itself may be whole
            raise
        except sqlite3.DatabaseError as error:
            raise LlamaDuoError(
                f"{path}: damaged ledger: {error}",
                "restore it from a copy; without it, finished calls are paid for again and the budget starts at zero",
            ) from None
        self.jobs = Jobs(self._database)
        self._interrupted: defaultdict[str, list[float]] = defaultdict(list)
        for key, cost in self._database.rows("SELECT key, cost_usd FROM flights"):
            self._interrupted[key].append(cost)
        self._keys = {key for (key,) in self._database.rows("SELECT key FROM calls WHERE answered IS NOT NULL")}
        self._models = {model for (model,) in self._database.rows("SELECT DISTINCT model FROM calls")}

    async def completion(self, request: Request) -> Completion | None:
        """The completion of an earlier, identical request."""
        key = request.digest
        if key not in self._keys:
            return None
        row = await self._database.row(
            "SELECT reply, finish_reason, prompt_tokens, completion_tokens, cost_usd FROM calls WHERE key = ?", (key,)
        )
        text, finish_reason, prompt_tokens, completion_tokens, cost_usd = row
        return Completion(text, finish_reason, prompt_tokens, completion_tokens, cost_usd, cached=True)

    def has_completions_of(self, model: str) -> bool:
        """Whether the model has completed a request in this run."""
        return model in self._models

    @property
    def interrupted_costs(self) -> list[float]:
        """The most that each call may have cost, in USD, which a crash or a stop interrupted."""
        return [cost for costs in self._interrupted.values() for cost in costs]

    async def start(self, call: InFlightCall) -> None:
        """Record a call that is about to be sent, until it is settled or withdrawn."""
        await self._database.write(
            "INSERT INTO flights VALUES (?, ?, ?)", (call.request.digest, call.started, call.max_cost)
        )

    def withdraw(self, call: InFlightCall) -> None:
        """Remove a call that was not sent, or that the service refused."""
        self._database.later((DELETE_IN_FLIGHT, (call.request.digest, call.started)))

    def interrupt(self, call: InFlightCall) -> None:
        """Count a call as paid whose response is lost: it stays recorded."""
        self._interrupted[call.request.digest].append(call.max_cost)

    async def settle(self, call: InFlightCall, completion: Completion) -> float:
        """Record the completion of a call; returns by how much interrupted calls of the same request get cheaper.

        Each is assumed to have cost what this one did, instead of the most it could.
        """
        key = call.request.digest
        interrupted = self._interrupted[key]
        await self._database.write_together(
            (DELETE_IN_FLIGHT, (key, call.started)),
            *[("UPDATE flights SET cost_usd = ? WHERE key = ?", (completion.cost_usd, key)) for _ in interrupted[:1]],
            _insertion(call.request, completion, call.started),
        )
        self._keys.add(key)
        self._models.add(call.request.model)
        self._interrupted[key] = [completion.cost_usd] * len(interrupted)
        return sum(interrupted) - sum(self._interrupted[key])

    async def settle_job(self, job: Job, completions: dict[str, Completion]) -> None:
        """Record the completions of a batch job, by key, and remove the job: both or neither."""
        insertions = [_insertion(job.requests[key], completion, job.started) for key, completion in completions.items()]
        await self._database.write_together(*insertions, *jobs.removal(job))
        self._keys |= completions.keys()
        self._models |= {job.model} if completions else set()

    async def record(self, request: Request, completion: Completion, sent: float) -> None:
        """Record the completion of a request that was sent at `sent`, in seconds since the epoch."""
        await self._database.write(*_insertion(request, completion, sent))
        self._keys.add(request.digest)

    def totals(self) -> Totals:
        """What was paid so far; a completion that an earlier run paid for took no tokens and is no call."""
        (row,) = self._database.rows(
            "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0),"
            " COALESCE(SUM(cost_usd), 0.0) FROM calls WHERE answered IS NOT NULL AND prompt_tokens > 0"
        )
        return Totals(*row)

    def close(self) -> None:
        self._database.close()


def _insertion(request: Request, completion: Completion, sent: float) -> Statement:
    return (
        "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            request.digest,
            request.model,
            json.dumps(request.to_row()),
            sent,
            time.time(),
            completion.text,
            completion.finish_reason,
            completion.prompt_tokens,
            completion.completion_tokens,
            completion.cost_usd,
        ),
    )
