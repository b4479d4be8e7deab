"""The sandbox's log of requests and responses: counted, and written to a file where one is given."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from engine.protocol import jsonl
from engine.protocol.errors import DamagedError, InputError, LlamaDuoError
from engine.protocol.jsonl import Row

MOST_BYTES = 16 * 1024 * 1024
"""A longer file is moved to FILE.1, in place of what was there, and begun again."""

MOST_ANSWERED = 100_000
"""Requests that are remembered as answered; the oldest are forgotten first."""


class Journal:
    """Counts requests; with a file, it appends a line for each event and starts from the lines already in it.

    A line has `time hash task event status` and, where one was simulated, `fault`. The event is `asked` when a request
    comes in, with the status to come (None where no whole response will), and `answered` when all of it is sent.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._answered: dict[str, None] = {}
        self._counts: Counter[str] = Counter()
        self._bytes = 0
        if path is None:
            return
        try:
            for row in _read(path):
                self._count(row["event"], row["hash"], row["status"])
            jsonl.append(path, [])
            self._bytes = path.stat().st_size
        except (DamagedError, KeyError, TypeError):
            raise InputError(f"{path}: not a sandbox log", "name another file, or leave --log out") from None
        except OSError as error:
            raise LlamaDuoError(f"{path}: cannot be written: {error.strerror}", "name a writable file") from None

    def record(self, event: str, digest: str, task: str, status: int | None, fault: str | None = None) -> None:
        """Count and write one event of the request with this hash."""
        self._count(event, digest, status)
        if self._path is not None:
            row = {"time": time.time(), "hash": digest, "task": task, "event": event, "status": status}
            self._write(self._path, row | {"fault": fault} if fault else row)

    def stats(self) -> dict[str, int]:
        """Counts; `asked_again` counts requests that came after the same request had succeeded with 200."""
        return {name: self._counts[name] for name in ("asked", "answered", "asked_again", "refused_429")}

    def _write(self, path: Path, row: Row) -> None:
        if self._bytes > MOST_BYTES:
            path.replace(_older(path))
            self._bytes = 0
        jsonl.append(path, [row])
        self._bytes += len(jsonl.dumps(row)) + 1

    def _count(self, event: str, digest: str, status: int | None) -> None:
        self._counts[event] += 1
        if event == "asked":
            self._counts["asked_again"] += digest in self._answered
            self._counts["refused_429"] += status == 429
        elif status == 200:
            self._answered[digest] = self._answered.pop(digest, None)
            if len(self._answered) > MOST_ANSWERED:
                del self._answered[next(iter(self._answered))]


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _read(path: Path) -> Iterator[Row]:
    yield from jsonl.read(_older(path))
    yield from jsonl.read(path)
