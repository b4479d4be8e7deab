"""What a process does that was started for a stage: its standard output is for events, and it ends with its parent."""

from __future__ import annotations

import os
import select
import signal
import threading

from engine.protocol import jsonl
from engine.protocol.events import Emit, Event, to_row
from engine.protocol.parent_death import die_with_parent

PARENT_POLL_S = 1.0


def take_standard_output() -> Emit:
    """Keep standard output for events, one JSON object a line; what anybody else prints goes to standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)

    def emit(event: Event) -> None:
        events.write(jsonl.dumps(to_row(event)) + "\n")
        events.flush()

    return emit


def exit_with_parent() -> None:
    """From now on, end this process when its standard input is closed, and when its parent is gone."""
    die_with_parent()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it goes to the worker as well, which decides
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """The parent counts too, since a launcher's input may stay open."""
    parent, closed = os.getppid(), False
    while not closed and os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], PARENT_POLL_S)
        closed = bool(readable) and not os.read(0, 4096)
    os._exit(1)
