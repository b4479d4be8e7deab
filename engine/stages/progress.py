"""Progress of a stage, with an estimate of what is left, a few times a second at most."""

from __future__ import annotations

import time

from engine.protocol.events import Emit, StageProgress


class Progress:
    """Counts units of work; `done` at the start (of a resumed stage) is no ground for the estimate."""

    INTERVAL_S = 0.5

    def __init__(self, emit: Emit, total: int, unit: str, done: int = 0) -> None:
        self._emit = emit
        self._total, self._unit = total, unit
        self._done, self._skipped = done, done
        self._began = time.monotonic()
        self._told = 0.0
        self._tell()

    @property
    def done(self) -> int:
        return self._done

    def advance(self, count: int = 1) -> None:
        self.reach(self._done + count)

    def reach(self, done: int) -> None:
        """Be at `done` units."""
        if done == self._done:
            return
        self._done = done
        if self._done >= self._total or time.monotonic() - self._told >= self.INTERVAL_S:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        worked = self._done - self._skipped
        left = (self._told - self._began) / worked * (self._total - self._done) if worked else None
        self._emit(
            StageProgress(
                done=self._done,
                total=self._total,
                unit=self._unit,
                seconds_left=None if left is None else round(left, 1),
            )
        )
