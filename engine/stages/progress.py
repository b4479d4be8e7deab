"""Progress of a stage with an estimate of the time left, emitted at most a few times a second."""

from __future__ import annotations

import time

from engine.protocol.events import Emit, StageProgress


class Progress:
    """Counts units of work; those `done` at the start, of a resumed stage, don't count for the estimate."""

    INTERVAL_S = 0.5

    def __init__(self, emit: Emit, total: int, unit: str, done: int = 0) -> None:
        self._emit = emit
        self._total, self._unit = total, unit
        self._done, self._skipped = done, done
        self._began = time.monotonic()
        self._emitted = 0.0
        self._report()

    @property
    def done(self) -> int:
        return self._done

    def advance(self, count: int = 1) -> None:
        self.reach(self._done + count)

    def reach(self, done: int) -> None:
        """Set the count to `done` units."""
        if done == self._done:
            return
        self._done = done
        if self._done >= self._total or time.monotonic() - self._emitted >= self.INTERVAL_S:
            self._report()

    def _report(self) -> None:
        self._emitted = time.monotonic()
        worked = self._done - self._skipped
        left = (self._emitted - self._began) / worked * (self._total - self._done) if worked else None
        self._emit(
            StageProgress(
                done=self._done,
                total=self._total,
                unit=self._unit,
                seconds_left=None if left is None else round(left, 1),
            )
        )
