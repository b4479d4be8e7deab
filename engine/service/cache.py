"""The reply cache of a user, shared by all runs: a request that an earlier run has paid for costs nothing.

    python -m engine.service.cache show
    python -m engine.service.cache prune [--days N]

Several workers may write it at once: transactions are single statements, and writers wait for each other. It holds
hashes of requests, not their prompts.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.protocol.counts import number_of
from engine.protocol.paths import cache_dir
from engine.service.completion import Completion, Request
from engine.service.database import Database
from engine.settings.schema import SANDBOX_MODEL, Migration

SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    stored REAL NOT NULL,
    reply TEXT NOT NULL,
    finish_reason TEXT NOT NULL
)
"""
DAY_S = 86400


def cache_file() -> Path:
    """The reply cache's path, in the user's cache folder."""
    return cache_dir() / "replies.sqlite"


class Cache:
    """An open reply cache; created where there is none, readable by this user alone.

    Raises OSError or sqlite3.Error where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = Database(path, SCHEMA)

    async def completion(self, request: Request, endpoint: str) -> Completion | None:
        """The completion that an endpoint gave to an identical request; it took no tokens now."""
        key = request.digest_at(endpoint)
        row = await self._database.row("SELECT reply, finish_reason FROM replies WHERE key = ?", (key,))
        return None if row is None else Completion(row[0], row[1], 0, 0, 0.0, cached=True)

    async def forget(self, request: Request, endpoint: str) -> None:
        """Delete the completion of a request: it could not be read."""
        await self._database.write("DELETE FROM replies WHERE key = ?", (request.digest_at(endpoint),))

    async def record(self, request: Request, endpoint: str, completion: Completion) -> None:
        await self._database.write(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)",
            (request.digest_at(endpoint), request.model, time.time(), completion.text, completion.finish_reason),
        )

    def close(self) -> None:
        self._database.close()


def open_cache(settings: Migration, warn: Callable[[str], None]) -> Cache | None:
    """The reply cache, or None for a run that uses none: the sandbox is free, and is called each time.

    Where the file cannot be used, the run goes on without it, and `warn` gets the reason.
    """
    if not settings.service.cache or {settings.service.model, *settings.judge_models} == {SANDBOX_MODEL}:
        return None
    try:
        return Cache(cache_file())
    except (OSError, sqlite3.Error) as error:
        warn(f"reply cache is off: {error}")
        return None


def show(path: Path) -> str:
    """The cache's size on disk, and its replies by model."""
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT model, COUNT(*), MIN(stored) FROM replies GROUP BY model ORDER BY model")
        lines = [
            f"{count:8}  {model}, since {time.strftime('%F', time.localtime(first))}" for model, count, first in rows
        ]
    return "\n".join([f"{path}: {path.stat().st_size / 2**20:.1f} MiB", *lines])


def prune(path: Path, days: float) -> int:
    """Delete the replies that are older than `days`; returns how many."""
    with sqlite3.connect(path) as database:
        deleted = database.execute("DELETE FROM replies WHERE stored < ?", (time.time() - days * DAY_S,)).rowcount
    database.execute("VACUUM")
    database.close()
    return deleted


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.service.cache", description="Show or prune the reply cache, shared by all runs."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="count its replies by model")
    pruning = commands.add_parser("prune", help="delete its replies")
    pruning.add_argument("--days", type=float, default=0.0, help="keep replies newer than this; default 0: delete all")
    options = parser.parse_args(arguments)
    path = cache_file()
    try:
        if not path.exists():
            print(f"{path}: the reply cache is empty")
        elif options.command == "show":
            print(show(path))
        else:
            deleted = prune(path, options.days)
            print(f"{number_of(deleted, 'reply')} deleted")
    except sqlite3.Error as error:
        print(f"error: {path}: {error}", file=sys.stderr)
        print(
            "hint: try again when no run is writing to it, or delete it: the next run creates it",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
