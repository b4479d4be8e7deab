"""One keeper a take-over: its lock is held as long as its process lives."""

from __future__ import annotations

import fcntl
from typing import IO

from engine.protocol.errors import LlamaDuoError
from engine.protocol.takeover import TakeoverFiles


def lock(at: TakeoverFiles) -> IO[str]:
    """Be the one keeper of a take-over until the file is closed, or this process ends; also before it is begun.

    Raises LlamaDuoError where there is another, also one whose door or local model still starts.
    """
    at.folder.mkdir(mode=0o700, exist_ok=True)
    file = at.lock.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise LlamaDuoError(f"{at.folder}: a door is at work already", "llamaduo-tui takeover RUN shows it") from None
    return file
