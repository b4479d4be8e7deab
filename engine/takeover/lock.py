"""One keeper and one drill a take-over: their locks are held as long as their processes live."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from engine.protocol import file_lock
from engine.protocol.errors import LlamaDuoError
from engine.protocol.file_lock import READER_S, Locked
from engine.protocol.takeover import TakeoverFiles


def lock(at: TakeoverFiles) -> IO[str]:
    """Be the one keeper of a take-over until the file is closed, or this process ends; also before it is begun.

    Raises LlamaDuoError where there is another, also one whose door or local model still starts.
    """
    return _taken(at.lock, f"{at.folder}: a door is at work already", "llamaduo-tui takeover RUN shows it")


def lock_drill(at: TakeoverFiles) -> IO[str]:
    """Be the one drill of a take-over until the file is closed, or this process ends. Raises LlamaDuoError."""
    return _taken(at.drill_lock, f"{at.folder}: a drill is at work already", "wait for its end")


def _taken(path: Path, held: str, hint: str) -> IO[str]:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    file = path.open("a")
    if file_lock.take(file, READER_S) is Locked.HELD:
        file.close()
        raise LlamaDuoError(held, hint)
    return file
