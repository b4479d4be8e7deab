"""The program in a pseudo-terminal, with a worker that only tells the story."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from pathlib import Path

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
PROGRAM = f"""
import sys
from llamaduo_tui import cli, launch
launch.worker_command = lambda run, yes: [sys.executable, {str(FAKE_WORKER)!r}, str(run.folder)]
cli.main()
"""


class Terminal:
    """The program in a pseudo-terminal: what it shows is read, keys are typed."""

    def __init__(self, *args: str) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
            os.execv(sys.executable, [sys.executable, "-c", PROGRAM, *args])
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

    def press(self, key: str) -> None:
        self.shown = ""
        os.write(self._master, key.encode())

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
