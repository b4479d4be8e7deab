"""A program in a pseudo-terminal of 100 by 30 cells: what it shows is read, keys are typed, the line is cut."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import termios
import time
from collections.abc import Sequence
from contextlib import suppress


class Terminal:
    """Starts a program, which is found on the path."""

    def __init__(self, command: Sequence[str]) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
            termios.tcsetwinsize(0, (30, 100))
            os.execvp(command[0], list(command))
        self.shown = ""

    def read_until(self, wanted: str, seconds: float = 30.0) -> None:
        """Read until the text is shown; styles between words are left out."""
        end = time.monotonic() + seconds
        while wanted not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.shown):
            assert time.monotonic() < end, f"{wanted!r} was not shown: {self.shown[-2000:]!r}"
            if select.select([self._master], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self._master, 65536).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"ended before {wanted!r} was shown: {self.shown[-2000:]!r}") from None

    def read(self, seconds: float) -> bool:
        """Read what is shown next; whether anything was, within these seconds."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # it has ended
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def press(self, key: str) -> None:
        self.shown = ""
        os.write(self._master, key.encode())

    def kill(self) -> None:
        """End the program at once, however it is."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._master)

    def hang_up(self) -> None:
        os.close(self._master)

    def exit_status(self) -> int:
        """How it ended; its output is drained meanwhile, or it could not write to the end."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self._master, 65536).decode(errors="replace")
                except OSError:
                    return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
