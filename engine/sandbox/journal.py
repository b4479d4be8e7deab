"""The sandbox's log of requests and responses: counted, and written to a file where one is given."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from engine.protocol import jsonl
from engine.protocol.errors import DamagedError, InputError, LlamaDuoError


class Journal:
    """Counts requests; with a file, it appends a line for each event and starts from the lines already in it.

    A line has `time hash task event status` and, where one was simulated, `fault`. The event is `asked` when a request
    comes in, with the status to come (None where no whole response will), and `answered` when all of it is sent.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._answered: set[str] = set()
        self._counts: Counter[str] = Counter()
        if path is None:
            return
        try:
            for row in jsonl.read(path):
                self._count(row["event"], row["hash"], row["status"])
            jsonl.append(path, [])
        except (DamagedError, KeyError, TypeError):
            raise InputError(f"{path}: not a sandbox log", "name another file, or leave --log out") from None
        except OSError as error:
            raise LlamaDuoError(f"{path}: cannot be written: {error.strerror}", "name a writable file") from None

    def record(self, event: str, digest: str, task: str, status: int | None, fault: str | None = None) -> None:
        """Count and write one event of the request with this hash."""
        self._count(event, digest, status)
        if self._path is not None:
            row = {"time": time.time(), "hash": digest, "task": task, "event": event, "status": status}
            jsonl.append(self._path, [row | {"fault": fault} if fault else row])

    def stats(self) -> dict[str, int]:
        """Counts; `asked_again` counts requests that came after the same request had succeeded with 200."""
        return {name: self._counts[name] for name in ("asked", "answered", "asked_again", "refused_429")}

    def _count(self, event: str, digest: str, status: int | None) -> None:
        self._counts[event] += 1
        if event == "asked":
            self._counts["asked_again"] += digest in self._answered
            self._counts["refused_429"] += status == 429
        elif status == 200:
            self._answered.add(digest)
