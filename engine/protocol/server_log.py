"""What libraries log in a server's process: the kind of an error and where it was raised, no texts of requests.

An HTTP library logs each request that it cannot read with the bytes that it cannot read, keys among them, and a
traceback. Anybody who reaches the port writes so many lines. Here a request that is the client's fault is no line, and
what is said again and again, as of a system without a free file, is a line a minute.
"""

from __future__ import annotations

import logging
import sys
import time

CLIENTS = range(400, 500)
"""Statuses of requests that are wrong by themselves."""


AGAIN_S = 60.0
"""Seconds in which a line that is said already is not said again."""

MOST_KEPT = 1000
"""Lines that are known for that."""


class KindsAlone(logging.Handler):
    """A line for each kind of warning or error: the logger, and the kind of the error with its file and line."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line to standard error."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and _of_client(error):
            return
        told = record.levelname.lower() if error is None else f"{type(error).__name__} in {place_of(error)}"
        line, now = f"{record.name}: {told}", time.monotonic()
        if now - self._said.get(line, -AGAIN_S) < AGAIN_S:
            return
        if len(self._said) >= MOST_KEPT:
            self._said.clear()
        self._said[line] = now
        print(line, file=sys.stderr, flush=True)


def _of_client(error: BaseException) -> bool:
    """Whether a request was wrong, by the status of the error or of one that it comes from."""
    status = getattr(error, "status", getattr(error, "code", None))
    return status in CLIENTS or (error.__cause__ is not None and _of_client(error.__cause__))


def place_of(error: BaseException) -> str:
    """Where an error was raised: a file and a line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown"


def log_kinds_alone() -> None:
    """Let this process's libraries log no more than that, from warnings on."""
    logging.basicConfig(handlers=[KindsAlone(level=logging.WARNING)], force=True)
