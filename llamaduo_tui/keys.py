"""Single keypresses from a terminal, and the terminal given back as it was."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def single_keys() -> Iterator[None]:
    """Deliver keys without Enter and without echo; Ctrl+C stays a signal."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def pressed(seconds: float) -> str:
    """The key pressed within so many seconds, in lower case; "" for none, a paste, or a key that sends a sequence.

    Ends the process as a hang-up does where the terminal was closed: nobody is left to tell, and nothing to restore.
    """
    descriptor = sys.stdin.fileno()
    if not select.select([descriptor], [], [], seconds)[0]:
        return ""
    try:
        data = os.read(descriptor, 1024)
    except OSError:
        data = b""
    if not data:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGHUP)
    return data.decode(errors="ignore").lower() if len(data) == 1 else ""
