"""`python -m engine.local.inference.guard COMMAND...`: runs a server that must not outlive the process that wants it.

The command runs in a process group of its own. When standard input is closed, which the end of the other process does
whatever ended it, the whole group is terminated, and killed where it doesn't end. The exit status is the command's.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil

POLL_S = 0.1

NOT_STARTED = 127
"""The exit status where there is no such command, as a shell's."""

GRACE_S = 10.0
"""How long a server may take to end by itself."""


def main() -> int:
    """Run the command to its end, or to the end of standard input."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"cannot start {sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return NOT_STARTED
    try:
        while process.poll() is None:
            readable, _, _ = select.select([0], [], [], POLL_S)
            if readable and not os.read(0, 4096):
                break
        return process.returncode if process.returncode is not None else 0
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the group, and descendants that left it."""
    started: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_group(process.pid, number)
        deadline = time.monotonic() + GRACE_S
        while _group_lives(process) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    for one in started:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # a zombie would count as alive
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
