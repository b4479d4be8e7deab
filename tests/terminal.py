"""A program in a pseudo-terminal, as an SSH client sees it: keys go in, frames come out, and the line can be cut."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

_STYLE = re.compile(r"\x1b\[[0-9;?>]*[a-zA-Z]")
_FRAME = b"\x1b[?2026h"
_ASKS_FOR_FRAMES = b"\x1b[?2026$p"
_HAS_FRAMES = b"\x1b[?2026;2$y"


class Terminal:
    """Starts a program, which is found on the path.

    `raw` is what it wrote since the last key, `bytes` and `frames` count it, and `last` is what a `watch` saw.
    """

    def __init__(self, command: Sequence[str], columns: int = 100, rows: int = 30) -> None:
        self._began = time.perf_counter()
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            size = {"COLUMNS": str(columns), "LINES": str(rows)}
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", **size}
            termios.tcsetwinsize(0, (rows, columns))
            os.execvp(command[0], list(command))
        self.raw = b""
        self.bytes = self.frames = 0
        self.last = ""
        self._ended = False

    @property
    def shown(self) -> str:
        """What the program drew since the last key, without styles."""
        return _STYLE.sub("", self.raw.decode(errors="replace"))

    def press(self, key: str) -> None:
        """Type a key, and forget what was shown before."""
        while self.read(0.0):
            pass
        self.raw = b""
        self._began = time.perf_counter()
        os.write(self._master, key.encode())

    def read(self, seconds: float) -> bool:
        """Read what is shown next; whether anything was, within these seconds."""
        if self._ended or not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            data = b""
        self._ended = not data
        if _ASKS_FOR_FRAMES in data:
            os.write(self._master, _HAS_FRAMES)
        self.raw += data
        self.bytes += len(data)
        self.frames += data.count(_FRAME)
        return bool(data)

    def read_until(self, wanted: str | Callable[[str], bool], seconds: float = 30.0) -> float:
        """Seconds from the last key, or from the start, until a text was shown.

        Raises TimeoutError where that takes longer than `seconds` from now on, EOFError where the program ends before.
        """
        end = time.monotonic() + seconds
        while not (wanted in self.shown if isinstance(wanted, str) else wanted(self.shown)):
            if self._ended:
                raise EOFError(f"ended before {wanted!r} was shown: {self.shown[-2000:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"{wanted!r} was not shown: {self.shown[-2000:]}")
            self.read(0.2)
        return time.perf_counter() - self._began

    def watch(self, seconds: float) -> tuple[float, float]:
        """Bytes and frames a second, over some seconds without a key."""
        end, self.bytes, self.frames = time.monotonic() + seconds, 0, 0
        while (left := end - time.monotonic()) > 0 and not self._ended:
            self.read(left)
        self.last, self.raw = self.shown, b""
        return self.bytes / seconds, self.frames / seconds

    def close(self) -> None:
        """Leave by ctrl+c, and wait until the program is gone."""
        self.press("\x03")
        while self.read(5.0):
            pass
        os.waitpid(self.pid, 0)
        os.close(self._master)

    def kill(self) -> None:
        """End the program at once, however it is."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._master)

    def hang_up(self) -> None:
        """Cut the line."""
        os.close(self._master)

    def exit_status(self) -> int:
        """How the program ended; its output is drained meanwhile, or it could not write to the end."""
        while not self._ended:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                while self.read(0.0):
                    pass
                return os.waitstatus_to_exitcode(status)
            self.read(0.05)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
