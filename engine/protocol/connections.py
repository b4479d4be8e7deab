"""A server's connections: as many as the system gives it, and none that keeps others out by sending nothing.

A process has 1,024 open files on most machines unless it asks for more; so many clients that connect and never send a
request would leave no room for one that does.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

MOST_FILES = 65_536
"""Open files that a server asks for; the system may allow fewer."""


class Connection(Hashable, Protocol):
    """A connection of aiohttp's server."""

    def force_close(self) -> None: ...


def allow_many() -> int:
    """Let this process have as many open files as it may, MOST_FILES at most; returns how many that are."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS allows fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


class Connections:
    """Which connections have a request at work; of the others there are `most` in all, or fewer."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._busy: set[Hashable] = set()

    @contextmanager
    def at_work(self, connection: Hashable) -> Iterator[None]:
        """Keep a connection open while its request is answered."""
        self._busy.add(connection)
        try:
            yield
        finally:
            self._busy.discard(connection)

    def close_waiting(self, open_: Sequence[Connection]) -> None:
        """Close those of the `open_` ones that have waited longest for a request, oldest first, where they are many."""
        surplus = len(open_) - self._most
        if surplus > 0:
            for one in [one for one in open_ if one not in self._busy][:surplus]:
                one.force_close()
