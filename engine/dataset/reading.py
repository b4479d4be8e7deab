"""Tells how far the reading of a long file is: a line that is rewritten in a terminal, else one every few seconds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from engine.dataset.load import ReadProgress
from engine.protocol.counts import number_of
from engine.protocol.durations import duration
from engine.protocol.terminal import LIVE, REWRITE

QUIET_S = 2.0
"""Seconds of reading that need no word."""

EVERY_LIVE_S, EVERY_PLAIN_S = 0.5, 5.0


class ReadingLine:
    """Called with the progress of `load`; prints nothing for what is read in a moment."""

    def __init__(self, stream: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._began = clock()
        self._passed_on = LIVE in os.environ
        self._live = self._passed_on or stream.isatty()
        self._due = self._began + (QUIET_S if self._live else EVERY_PLAIN_S)
        self._shown = False

    def __call__(self, progress: ReadProgress) -> None:
        now = self._clock()
        ended = progress.share == 1.0 and self._shown
        if now < self._due and not ended:
            return
        self._due = now + (EVERY_LIVE_S if self._live else EVERY_PLAIN_S)
        self._print(self._line(progress, now - self._began))

    def end(self) -> None:
        """Take the line away."""
        if self._shown and self._live:
            self._print("")
        self._shown = False

    def _line(self, progress: ReadProgress, seconds: float) -> str:
        rows = f"read {number_of(progress.rows, 'row')}"
        if progress.share is None or progress.share <= 0:
            return rows
        if progress.share >= 1:
            return f"{rows}, looking at them"
        left = seconds * (1 - progress.share) / progress.share
        return f"{rows} ({progress.share:.0%}), about {duration(left)} left"

    def _print(self, line: str) -> None:
        self._shown = bool(line)
        if self._passed_on:
            self._stream.write(f"{REWRITE}{line}\n")
        elif self._live:
            self._stream.write(f"\r\x1b[K{line}")
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()
