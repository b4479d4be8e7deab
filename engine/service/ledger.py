"""The ledger: every service call with its reply and cost, in SQLite, so that nothing is paid twice.

One process writes it. The journal mode is DELETE, since write-ahead logs are unsafe on network file systems.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
)
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service answered, and what that cost; `cached` where the ledger answered."""

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


def request_key(request: dict[str, Any]) -> str:
    """The SHA-256 of the canonical request: model, messages, parameters, repeat index."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Ledger:
    """Opened by the one worker of a run; a reply is committed before anybody uses it."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=DELETE")
        self._database.execute(SCHEMA)

    def reply(self, key: str) -> Reply | None:
        """The answer of an earlier, identical request."""
        row = self._database.execute(
            "SELECT reply, finish_reason, prompt_tokens, completion_tokens, cost_usd FROM calls"
            " WHERE key = ? AND answered IS NOT NULL",
            (key,),
        ).fetchone()
        if row is None:
            return None
        text, finish_reason, prompt_tokens, completion_tokens, cost_usd = row
        return Reply(text, finish_reason, prompt_tokens, completion_tokens, cost_usd, cached=True)

    def asking(self, key: str, request: dict[str, Any]) -> None:
        """Note a request before it is sent, so that a crash shows what was in flight."""
        self._database.execute(
            "INSERT OR REPLACE INTO calls (key, model, request, asked) VALUES (?, ?, ?, ?)",
            (key, request["model"], json.dumps(request), time.time()),
        )

    def answered(self, key: str, reply: Reply) -> None:
        """Keep the answer to a request that `asking` noted."""
        self._database.execute(
            "UPDATE calls SET answered = ?, reply = ?, finish_reason = ?, prompt_tokens = ?, completion_tokens = ?,"
            " cost_usd = ? WHERE key = ?",
            (
                time.time(),
                reply.text,
                reply.finish_reason,
                reply.prompt_tokens,
                reply.completion_tokens,
                reply.cost_usd,
                key,
            ),
        )

    def totals(self) -> Totals:
        row = self._database.execute(
            "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0),"
            " COALESCE(SUM(cost_usd), 0.0) FROM calls WHERE answered IS NOT NULL"
        ).fetchone()
        return Totals(*row)

    def close(self) -> None:
        self._database.close()
