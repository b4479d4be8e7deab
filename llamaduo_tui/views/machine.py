"""The load of this machine now, and what a run has recorded of the machine that it works on."""

from __future__ import annotations

import os
import time
from functools import cache
from typing import TYPE_CHECKING

from engine.protocol.machine import Machine, MachineRow, read
from engine.protocol.run_dir import Run

if TYPE_CHECKING:
    from engine.local.machine import Sampler


FIRST_S = 0.2
"""Seconds of the first sample."""


def sample() -> Machine:
    """The load since the last sample; the first loads NVIDIA's library, and takes a moment to see any load."""
    return _sampler().sample()


@cache
def _sampler() -> Sampler:
    from engine.local.machine import Sampler

    sampler = Sampler()
    time.sleep(FIRST_S)  # a load of no time at all would be 0 %
    return sampler


class History:
    """What a run's workers recorded of their machine."""

    def __init__(self, run: Run) -> None:
        self._path = run.machine_file
        self._read: tuple[int, int, int] | None = None

    def new(self) -> tuple[MachineRow, ...] | None:
        """All rows; None where there are no other ones than last time, or none that this user may read.

        Raises DamagedError once for a file that is damaged.
        """
        if not os.access(self._path, os.R_OK):
            return None
        found = self._path.stat()
        seen = found.st_ino, found.st_size, found.st_mtime_ns
        if seen == self._read:
            return None
        self._read = seen
        return tuple(read(self._path))
