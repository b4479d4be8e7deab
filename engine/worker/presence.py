"""A worker's hold on its run: its folder stays where it was, and no other worker takes the run over."""

from __future__ import annotations

import asyncio

from engine.protocol.errors import LlamaDuoError
from engine.protocol.lock import where
from engine.protocol.run_dir import Run

POLL_S = 0.25


class LostRunError(LlamaDuoError):
    """The worker has lost its run: it ends and writes nothing more in that folder."""


class Presence:
    """Notices when the run's folder was moved or removed, and when its status is another worker's."""

    def __init__(self, run: Run, worker: str) -> None:
        """Raises OSError where the folder is gone already."""
        self._run, self._worker = run, worker
        self._folder = _identity(run)

    def lost(self) -> LostRunError | None:
        """Why this worker may write no more; None while all is as it was."""
        run = self._run
        try:
            moved = _identity(run) != self._folder
        except FileNotFoundError:
            moved = True
        except OSError:  # a file system that is away may come back
            return None
        if moved:
            return LostRunError(
                f"{run.folder} was moved or removed while {run.name} worked", "resume the run where its folder is now"
            )
        try:
            status = run.status()
        except (LlamaDuoError, OSError):
            return None
        if status.worker in ("", self._worker):
            return None
        return LostRunError(
            f"another worker ({where(status.process)}) has taken {run.name} over", "this worker ends and writes no more"
        )

    async def watch(self) -> None:
        """Raise LostRunError as soon as the run is lost."""
        while True:
            await asyncio.sleep(POLL_S)
            if (lost := self.lost()) is not None:
                raise lost


def _identity(run: Run) -> tuple[int, int]:
    found = run.folder.stat()
    return found.st_dev, found.st_ino
