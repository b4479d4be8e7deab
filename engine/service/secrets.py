"""Keep keys out of everything that is written: values from the environment are replaced by their names."""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from typing import TextIO

SECRET_NAMES = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
LEAST_CHARS = 8


def without_keys(text: str, names: Collection[str | None] = ()) -> str:
    """A text in which each secret of the environment, and each variable in `names`, stands as `$NAME`."""
    for name, value in os.environ.items():
        if len(value) >= LEAST_CHARS and (name in names or name.endswith(SECRET_NAMES)) and value in text:
            text = text.replace(value, f"${name}")
    return text


class Redacted(io.TextIOBase):
    """A text stream that never writes a key: for the log of a process whose libraries print what they please."""

    def __init__(self, stream: TextIO, names: Collection[str | None] = ()) -> None:
        self._stream, self._names = stream, names

    def write(self, text: str) -> int:
        """Write a text without keys."""
        self._stream.write(without_keys(text, self._names))
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind this one."""
        self._stream.flush()

    def fileno(self) -> int:
        """The file descriptor of the stream behind this one, to which child processes write."""
        return self._stream.fileno()
