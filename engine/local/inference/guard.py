"""`python guard.py SECRETS COMMAND...`: runs a server that must not outlive the process that wants it.

The command runs in a process group of its own. When standard input is closed, which the end of the other process does
whatever ended it, the whole group is terminated, and killed where it doesn't end. The exit status is the command's; of
one that a signal ended it is 128 and the signal's number, as a shell gives it.

All that it prints goes to standard output, without the values of variables that look like secrets, or that are among
SECRETS (names with commas between them).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

sys.path.append(str(Path(__file__).parents[3]))  # as a program this file sees its own folder alone

from engine.protocol.parent_death import die_with_parent
from engine.protocol.processes import BY_SIGNAL
from engine.protocol.secrets import without_keys

POLL_S = 0.1

NOT_STARTED = 127
"""The exit status where there is no such command, as a shell's."""

GRACE_S = 10.0
"""How long a server may take to end by itself."""

LAST_WORDS_S = 2.0
"""How long to wait for what a server printed before it ended."""

LONGEST_LINE = 65_536
"""Bytes that are kept until their line ends, so that no secret in it is torn."""

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run the command to its end, or to the end of standard input."""
    for number in ENDING:
        signal.signal(number, _exit)
    secrets, command = sys.argv[1].split(","), sys.argv[2:]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_STARTED
    assert process.stdout is not None
    copying = threading.Thread(target=_copy, args=(process.stdout, secrets), daemon=True)
    copying.start()
    try:
        while process.poll() is None:
            readable, _, _ = select.select([0], [], [], POLL_S)
            if readable and not os.read(0, 4096):
                break
        status = process.returncode or 0
        return status if status >= 0 else BY_SIGNAL - status
    finally:
        # Another signal would leave the group half ended.
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        _end(process)
        copying.join(LAST_WORDS_S)


def _exit(number: int, _: object) -> None:
    sys.exit(128 + number)


def _copy(source: IO[bytes], secrets: Collection[str]) -> None:
    """Copy whole lines, and progress bars' ends of them, to standard output, with names instead of secrets."""
    held = b""
    while chunk := os.read(source.fileno(), LONGEST_LINE):
        held += chunk
        end = max(held.rfind(b"\n"), held.rfind(b"\r")) + 1 or (len(held) if len(held) > LONGEST_LINE else 0)
        _write(held[:end], secrets)
        held = held[end:]
    _write(held, secrets)


def _write(lines: bytes, secrets: Collection[str]) -> None:
    text = without_keys(lines.decode(errors="surrogateescape"), secrets)
    left = text.encode(errors="surrogateescape")
    while left:
        left = left[os.write(1, left) :]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the group, and descendants that left it."""
    started: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_group(process.pid, number)
        _signal_group(process.pid, signal.SIGCONT)  # a paused server would not hear of it
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
