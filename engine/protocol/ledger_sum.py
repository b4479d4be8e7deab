"""What a record keeps of the ledger. A release asks the service after the end: more calls come, and the others stay."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec

from engine.protocol import plain_file
from engine.protocol.sqlite_file import reading

CALLS = "SELECT key, model, request, asked, answered, reply, cost_usd FROM calls ORDER BY rowid LIMIT ?"

COUNTER, VALID_FOR = slice(24, 28), slice(92, 96)
"""Of the header: SQLite raises both with each transaction, to the same number (https://sqlite.org/fileformat.html)."""


class LedgerSum(msgspec.Struct, frozen=True, kw_only=True):
    """The first calls of a ledger, with the SHA-256 of their rows; `writes` counts the transactions of the file."""

    calls: int
    sha256: str
    writes: int


def calls_in(path: Path) -> int:
    """How many calls a ledger has. Raises sqlite3.Error where it cannot be read."""
    with reading(path, immutable=True) as ledger:
        return int(ledger.execute("SELECT COUNT(*) FROM calls").fetchone()[0])


def ledger_sum(path: Path, calls: int = -1) -> LedgerSum:
    """The sum of a ledger's first `calls`, by default of all. Raises sqlite3.Error where it cannot be read."""
    digest, count = hashlib.sha256(), 0
    with reading(path, immutable=True) as ledger:
        for row in ledger.execute(CALLS, (calls,)):
            digest.update(json.dumps(row).encode() + b"\n")
            count += 1
    with plain_file.open_file(path) as file:
        header = file.read(VALID_FOR.stop)
    written = int.from_bytes(header[COUNTER]) if header[COUNTER] == header[VALID_FOR] else 0
    return LedgerSum(calls=count, sha256=digest.hexdigest(), writes=written)
