"""A program in a pseudo-terminal, as an SSH client sees it: keys go in, frames come out and are timed and counted."""

from __future__ import annotations

import os
import pty
import re
import select
import termios
import time
from collections.abc import Callable

_STYLE = re.compile(r"\x1b\[[0-9;?>]*[a-zA-Z]")
_FRAME = b"\x1b[?2026h"
_ASKS_FOR_FRAMES = b"\x1b[?2026$p"
PATIENCE_S = 30.0


class Terminal:
    """Starts a program; `shown` is what it drew since the last key, without styles, `last` what a `watch` saw."""

    def __init__(self, command: list[str], columns: int = 120, rows: int = 40) -> None:
        self._began = time.perf_counter()
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, (rows, columns))
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            os.execv(command[0], command)  # noqa: S606 - no shell is wanted
        self.bytes = self.frames = 0
        self.last = ""
        self._raw = b""

    @property
    def shown(self) -> str:
        return _STYLE.sub("", self._raw.decode(errors="replace"))

    def press(self, key: str) -> None:
        """Type a key, and forget what was shown before."""
        while self._read(0.0):
            pass
        self._raw = b""
        self._began = time.perf_counter()
        os.write(self._master, key.encode())

    def until(self, drawn: str | Callable[[str], bool]) -> float:
        """Seconds from the last key, or from the start, until a text was drawn; raises TimeoutError."""
        while not (drawn in self.shown if isinstance(drawn, str) else drawn(self.shown)):
            if time.perf_counter() - self._began > PATIENCE_S:
                raise TimeoutError(f"{drawn} was not drawn: {self.shown[-2000:]}")
            self._read(1.0)
        return time.perf_counter() - self._began

    def watch(self, seconds: float) -> tuple[float, float]:
        """Bytes and frames a second, over some seconds without a key."""
        end, self.bytes, self.frames = time.monotonic() + seconds, 0, 0
        while (left := end - time.monotonic()) > 0:
            self._read(left)
        self.last, self._raw = self.shown, b""
        return self.bytes / seconds, self.frames / seconds

    def close(self) -> None:
        """Leave by the key, and wait until it is gone."""
        self.press("\x03")
        while self._read(5.0):
            pass
        os.waitpid(self.pid, 0)
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # it has ended
            return False
        if _ASKS_FOR_FRAMES in data:
            os.write(self._master, b"\x1b[?2026;2$y")
        self._raw += data
        self.bytes += len(data)
        self.frames += data.count(_FRAME)
        return bool(data)
