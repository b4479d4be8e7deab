"""What Linux does to a process when its parent ends, even to one that stands still and reads no closed pipe.

The functions are for `preexec_fn`. They travel to the nodes of a cluster by value, so they use nothing of this package.
"""

from __future__ import annotations

import ctypes
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def die_with_parent() -> None:
    """Have this process killed when the thread that started it ends."""
    _signal_after_parent(signal.SIGKILL)


def resume_after_parent() -> None:
    """Have this process go on when the thread that started it ends, if it stands still: it has to end others."""
    _signal_after_parent(signal.SIGCONT)


def _signal_after_parent(number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, number)
