"""Who works on a run: one worker at a time, and none on a run that has ended."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.processes import kill_tree
from engine.protocol.run_dir import Run, writable
from engine.protocol.status import STALE_AFTER_S, Process, State, Status


def may_start(run: Run, state: State) -> None:
    """Raise InputError, which says what to do instead, where a run in this state has ended."""
    if state.ended:
        raise InputError(
            f"{run.name} has ended ({state}) and cannot be resumed",
            f"read its report: {run.report_file}; or start another run",
        )


@contextmanager
def lock(run: Run) -> Iterator[None]:
    """Be the one worker of a run; raises LlamaDuoError where another one is at work, InputError where it has ended.

    The kernel frees the lock with the process; the status tells readers and other hosts which process holds it.
    """
    may_start(run, run.status().state)  # before the first file is touched
    with writable(run.folder):
        file = (run.folder / "lock").open("a")
    with file:
        locked = _try_lock(file)
        holder = run.status()
        if not locked or _works_elsewhere(holder):
            pid = holder.process.pid if holder.process else "unknown"
            raise LlamaDuoError(
                f"{run.name} already has a worker (pid {pid})", f"follow it: llamaduo-tui logs {run.name} -f"
            )
        may_start(run, holder.state)
        _end_orphan(holder.child)
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _works_elsewhere(holder: Status) -> bool:
    process = holder.process
    if not holder.state.working or process is None or (process.here and process.pid == os.getpid()):
        return False
    return process.alive and time.time() - holder.heartbeat < STALE_AFTER_S


def _end_orphan(child: Process | None) -> None:
    """A stage whose worker was killed must not write next to its successor."""
    if child is not None and child.here and child.alive:
        kill_tree(child.pid, wait_s=10)
