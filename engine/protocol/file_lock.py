"""Locks on files, which the kernel frees with the process that holds them; some file systems have none."""

from __future__ import annotations

import errno
import fcntl
import time
from enum import Enum
from pathlib import Path
from typing import IO

from engine.protocol import plain_file

UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""What flock says on a file system without locks: Lustre without -o flock, some NFS and FUSE mounts."""

POLL_S = 0.02

READER_S = 1.0
"""Seconds for one who only looks whether a lock is held to let it go."""


class Locked(Enum):
    """What came of a try to lock a file."""

    MINE = "mine"
    HELD = "held by another process"
    UNSUPPORTED = "the file system has no locks"


def take(file: IO[str], wait_s: float) -> Locked:
    """Try to lock an open file for this process alone; a reader's `is_held` may be in the way for a moment."""
    deadline = time.monotonic() + wait_s
    while (locked := _try(file, fcntl.LOCK_EX)) is Locked.HELD and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return locked


def wait_for(descriptor: int) -> None:
    """Lock an open file once all others have let it go; without locks, go on: a short append is one write."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def is_held(path: Path) -> bool | None:
    """Whether a process holds the lock of a file; None where nobody can tell: no locks, or no right to read it."""
    try:
        with plain_file.open_file(path) as file:
            locked = _try(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return None if locked is Locked.UNSUPPORTED else locked is Locked.HELD


def _try(file: IO[str] | IO[bytes], how: int) -> Locked:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return Locked.HELD
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return Locked.UNSUPPORTED
    return Locked.MINE
