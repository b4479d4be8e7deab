"""The ledger: every answered service call with its cost, in SQLite, so that nothing is paid twice.

One process writes it. A reply is committed before anybody uses it; a call that was in flight at a crash is not in it.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.service.database import Database

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


def request_key(request: dict[str, Any]) -> str:
    """The SHA-256 of the canonical request: model, messages, parameters, repeat index."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Ledger:
    """Opened by the one worker of a run."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA)
        self._keys = {key for (key,) in self._database.rows("SELECT key FROM calls WHERE answered IS NOT NULL")}

    async def reply(self, key: str) -> Reply | None:
        """The answer of an earlier, identical request."""
        if key not in self._keys:
            return None
        row = await self._database.row(
            "SELECT reply, finish_reason, prompt_tokens, completion_tokens, cost_usd FROM calls WHERE key = ?", (key,)
        )
        text, finish_reason, prompt_tokens, completion_tokens, cost_usd = row
        return Reply(text, finish_reason, prompt_tokens, completion_tokens, cost_usd, cached=True)

    async def keep(self, key: str, request: dict[str, Any], reply: Reply, asked: float) -> None:
        """Keep an answer to a request that was sent at `asked`, in seconds since the epoch."""
        await self._database.write(
            "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(key, request["model"], json.dumps(request), asked, time.time(), reply.text, reply.finish_reason),
                *(reply.prompt_tokens, reply.completion_tokens, reply.cost_usd),
            ),
        )
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
