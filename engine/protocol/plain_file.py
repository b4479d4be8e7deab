"""Reading files of a run, which somebody may have sent: a pipe is not waited for, and a device not read for ever."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from engine.protocol.errors import DamagedError

MOST_BYTES = 256 * 2**20
"""Of a file that is read as a whole."""

MOST_LINE_BYTES = 32 * 2**20
"""Of a line: a file of zeros has none, and would be read into memory for its first one. A row has 3 MB at most, a
review of a million responses 22 MB; of hostile JSON the objects take up to 25 times as much."""

MOST_JSON_BYTES = 16 * 2**20
"""Of a file that is one JSON value or a list of checksums, whose objects take as much."""

ODD = (errno.ELOOP, errno.ENXIO)
"""What the system says of links that lead nowhere, and of sockets."""


class OddFileError(DamagedError, OSError):
    """In the place of a file there is a folder, a pipe, a device, or more than any run writes."""

    def __init__(self, path: Path, problem: str, number: int = errno.EINVAL) -> None:
        super().__init__(path, problem)
        self.errno, self.strerror, self.filename = number, problem, str(path)

    def __str__(self) -> str:
        return self.message


def open_file(path: Path, buffer_bytes: int = 128 * 1024) -> BinaryIO:
    """Open a regular file to read its bytes. Raises OddFileError for anything else, at once."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in ODD:
            raise OddFileError(path, "not a regular file", error.errno) from None
        raise
    try:
        _check(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb", buffer_bytes)
    except BaseException:
        os.close(descriptor)
        raise


def lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The lines of an open file from where it is; a torn last one is left out.

    Raises OddFileError for one that does not end.
    """
    for line in iter(partial(file.readline, MOST_LINE_BYTES), b""):
        if not line.endswith(b"\n"):
            if len(line) == MOST_LINE_BYTES:
                raise OddFileError(path, f"a line has over {MOST_LINE_BYTES // 2**20} MiB", errno.EFBIG)
            return
        yield line


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file. Raises OddFileError for anything else, and where it is too large to be ours."""
    content, block = b"", b"-"
    with open_file(path, buffer_bytes=0) as file:
        size = os.fstat(file.fileno()).st_size
        large = size > most  # seen before all of that fills the memory
        while block and not large and len(content) <= most:
            block = file.read(size + 1)  # a larger number would take that much memory
            content += block
    if large or len(content) > most:
        raise OddFileError(path, f"larger than {most // 2**20} MiB", errno.EFBIG)
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """As `read_bytes`, in UTF-8. Raises UnicodeDecodeError, a ValueError, for other bytes."""
    return read_bytes(path, most).decode()


def check(path: Path) -> None:
    """Raise OddFileError where a path is there and no regular file, for libraries that open it themselves."""
    try:
        _check(path.stat().st_mode, path)
    except FileNotFoundError:
        return


def _check(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise OddFileError(path, "a folder", errno.EISDIR)
    if not stat.S_ISREG(mode):
        raise OddFileError(path, "not a regular file")
