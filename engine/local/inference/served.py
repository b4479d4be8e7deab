"""A server as a child of the stage: started, watched, its log kept, and ended with the stage whatever happens to it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from engine.protocol.errors import StageError
from engine.protocol.parent_death import resume_after_parent

LAST_LINES = 3
"""Of a server's log, in the error of one that failed."""

LOG_TAIL_BYTES = 2**18

END_S = 30.0
"""How long the guard may take to end a server: twice its patience and a little more."""

OWN_VARIABLES = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Of this program's Python: a server has its own."""

TROUBLE = re.compile(r"error|exception|failed|cannot|out of memory|no such|not found|usage:", re.IGNORECASE)
OWN_ERROR = "error: "
"""Begins the line by which a server of this program says why it ends."""

HARMLESS = re.compile(r"\b(DEBUG|INFO|WARNING)\b")
RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception): \S")
ELSEWHERE = re.compile(r"see (root cause|stack ?trace)|root cause above", re.IGNORECASE)
"""Exceptions that only say that another process of the server had one."""
PREFIX = re.compile(r"(\([^()]*pid=\d+\) )?((ERROR|CRITICAL) \d\S* \S+ \[[^\]]*\] )?")
"""Of a line of vLLM's log: the process, the level, the time and the place."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class ServedProcess:
    """A command that runs until `end`; `log` gets all that it prints."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        extra: Mapping[str, str] | None = None,
        without: Collection[str] = (),
        secrets: Collection[str] = (),
    ) -> None:
        """`extra` are environment variables for it; those in `without` stay here, as do those of this Python.

        Its log shows the names of its secrets, those in `secrets` among them, instead of their values.
        """
        self.name, self._log = name, log
        log.parent.mkdir(exist_ok=True)
        hidden = {*OWN_VARIABLES, *without}
        environment = {key: value for key, value in os.environ.items() if key not in hidden} | dict(extra or {})
        guard = Path(__file__).with_name("guard.py")
        with log.open("ab") as output:
            self._began = output.tell()
            self._guard = subprocess.Popen(
                [sys.executable, "-I", str(guard), ",".join(secrets), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment,
                preexec_fn=resume_after_parent,
            )

    @property
    def status(self) -> int | None:
        """The exit status of the command; None while it runs."""
        return self._guard.poll()

    def failed(self, problem: str, hint: str) -> StageError:
        """The error of a server that failed, with what its log gives as the cause."""
        said = " | ".join(self._causes())
        return StageError(
            f"{self.name} {problem}{f': {said}' if said else ''}", f"{hint}; its log: {self._log}; then resume"
        )

    def kill(self) -> None:
        """Kill the command with SIGKILL, and not its guard, which then ends what the command started."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._guard.pid).children():
                child.kill()

    def end(self) -> None:
        """End the command and all that it started."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        try:
            self._guard.wait(END_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()

    def _causes(self) -> list[str]:
        """What this start's log gives as the cause.

        That is what a server of this program says; else the first exception, which the others follow from, and the
        last; without one, the last lines that tell of trouble; without these, the last lines of all.
        """
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            began = self._began if self._began <= size else 0  # it has been rotated
            file.seek(max(began, size - LOG_TAIL_BYTES))
            text = COLOURS.sub("", file.read().decode(errors="replace"))
        lines = [PREFIX.sub("", " ".join(line.split()), count=1)[:300] for line in text.splitlines() if line.strip()]
        if own := [line for line in lines if line.startswith(OWN_ERROR)]:
            return [own[-1].removeprefix(OWN_ERROR)]
        raised = [line for line in lines if RAISED.match(line) and not ELSEWHERE.search(line)]
        trouble = [line for line in lines if TROUBLE.search(line) and not HARMLESS.search(line)]
        return list(dict.fromkeys([raised[0], raised[-1]])) if raised else (trouble or lines)[-LAST_LINES:]


def free_port() -> int:
    """A port on loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
