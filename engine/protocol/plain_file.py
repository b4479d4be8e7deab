"""Reading files of a run, which somebody may have sent: a pipe is not waited for, and a device not read for ever."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

MOST_BYTES = 256 * 2**20
"""Of a file that is read as a whole."""


def open_file(path: Path, buffer_bytes: int = 128 * 1024) -> BufferedReader:
    """Open a regular file to read its bytes. Raises OSError for anything else, at once."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb", buffer_bytes)
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path) -> bytes:
    """The content of a regular file. Raises OSError for anything else, and where it is too large to be ours."""
    with open_file(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def read_text(path: Path) -> str:
    """As `read_bytes`, in UTF-8. Raises UnicodeDecodeError, a ValueError, for other bytes."""
    return read_bytes(path).decode()


def check(path: Path) -> None:
    """Raise OSError where a path is there and no regular file, for libraries that open it themselves."""
    try:
        _check(path.stat().st_mode, path)
    except FileNotFoundError:
        return


def _check(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
