"""Places that hold a dataset: a local file, a pipe, a file behind an address, the Hub."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from engine.dataset.sources.errors import first_line, printable
from engine.protocol.errors import InputError


class Place(msgspec.Struct, frozen=True):
    """Something that can be opened and read.

    `name` is for messages, `key` is the same for the same place, `label` stands before the number of a row. `size` is
    in bytes, None where it is unknown. A place can be opened `again`, and its file seeks, unless it is a pipe.
    """

    name: str
    key: str
    opener: Callable[[], IO[bytes]]
    size: int | None
    again: bool
    path: Path | None = None
    label: str = ""
    closes: bool = True

    def open(self) -> IO[bytes]:
        """The bytes from the start. Raises InputError."""
        try:
            return self.opener()
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - a remote file system raises errors of its own
            raise self.unreadable(error) from None

    def unreadable(self, error: Exception) -> InputError:
        """Why the place cannot be read, as an error for the user."""
        if isinstance(error, InputError):
            return error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        return InputError(f"{self.name}: cannot be read: {reason}")


class HubDataset(msgspec.Struct, frozen=True):
    """A dataset of the Hub and its split."""

    dataset: str
    split: str

    @property
    def key(self) -> str:
        """The same for the same split."""
        return f"hub:{self.label}"

    @property
    def label(self) -> str:
        """What stands before the number of a row."""
        return f"{self.dataset}:{self.split}"


def local_file(path: Path) -> Place:
    """A file or a named pipe. Raises InputError for anything else."""
    name = printable(str(path))
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    regular = stat.S_ISREG(status.st_mode)
    if not regular and not stat.S_ISFIFO(status.st_mode):
        raise InputError(f"{name}: is not a file", "name a file, a folder or a pipe")
    return Place(
        name=name,
        key=os.path.realpath(path),
        opener=lambda: path.open("rb", buffering=0),
        size=status.st_size if regular else None,
        again=regular,
        path=path,
    )


def standard_input() -> Place:
    """The standard input, which can be read once."""
    return Place(name="standard input", key="-", opener=_stdin, size=None, again=False, label="stdin", closes=False)


def _stdin() -> Any:
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("standard input: nothing to read", "pipe data in: zcat logs.gz | llamaduo-tui ... -")
    return sys.stdin.buffer
