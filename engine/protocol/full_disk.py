"""A disk that takes no more: what is used up, and what to do about it."""

from __future__ import annotations

import errno
import os
import re
import resource
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_FULL = re.compile(r"No space left|disk is full")
_QUOTA = re.compile(r"[Qq]uota exceeded")
_LARGE = re.compile(r"File too large")
"""What libraries say that raise errors of their own: SQLite, torch, safetensors."""

_WRITING = 778
"""SQLite's code where a write fails that is not for want of room (https://sqlite.org/rescode.html#ioerr_write)."""


class Full(NamedTuple):
    """What is used up, with the file that was written where it is known, and what to do."""

    what: str
    hint: str


def full(error: BaseException) -> Full | None:
    """What an error says is used up: the disk, its inodes, a quota, or the size of a file; None for any other error."""
    number = error.errno if isinstance(error, OSError) else None
    where = getattr(error, "filename", None)
    if number == errno.ENOSPC or _FULL.search(str(error)):
        found = _room(where)
    elif number == errno.EDQUOT or _QUOTA.search(str(error)):
        found = Full("your disk quota is used up", "delete files of yours, or ask for a higher quota")
    elif number == errno.EFBIG or _LARGE.search(str(error)) or _is_limited(error):
        found = _size()
    else:
        return None
    return found._replace(what=f"{found.what}: {where}") if where else found


def _room(where: object) -> Full:
    """A disk without inodes has room, by `df`."""
    with suppress(OSError, TypeError, ValueError):
        free = os.statvfs(Path(str(where or ".")).parent)
        if free.f_files and not free.f_favail:
            return Full("the disk has no room for more files (inodes)", "delete some files; df -i shows how many")
    return Full("the disk is full", "free some space")


def _size() -> Full:
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return Full("a file may not grow further (ulimit -f)", "raise that limit: ulimit -f unlimited")
    return Full("a file is too large for its file system", "use another disk")


def _is_limited(error: BaseException) -> bool:
    """Whether SQLite failed to write, in a process whose files may not grow further."""
    limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    return limited and getattr(error, "sqlite_errorcode", None) == _WRITING
