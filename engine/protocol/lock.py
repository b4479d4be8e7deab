"""The right to work on a run: one worker at a time, and none on a run that has ended.

The kernel's lock on RUN/lock decides, since it ends with its holder. Where the file system has none, or may not share
it with other hosts, the heartbeat in status.json is a lease: a run is taken up once no heartbeat came for `LEASE_S` by
the watcher's own clock, and a worker whose status another one has written ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from engine.protocol import file_lock
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.file_lock import Locked
from engine.protocol.processes import end_orphan
from engine.protocol.run_dir import Run, writable
from engine.protocol.status import Process, State, Status

LEASE_S = 15.0
"""Without a heartbeat for so long, a worker that can't be checked from here is gone: they come every other second."""

CLAIM_S = 1.0
"""How long a worker waits for another one that claims the run at the same time; the later of the two gets it."""

WAIT_S = 1.0
POLL_S = 0.2


def may_start(run: Run, state: State) -> None:
    """Raise InputError, which says what to do instead, where a run in this state has ended."""
    if state.ended:
        raise InputError(
            f"{run.name} has ended ({state}) and cannot be resumed",
            f"read its report: {run.report_file}; or start another run",
        )


@contextmanager
def lock(run: Run) -> Iterator[Locked]:
    """Be the one worker of a run; gives `Locked.UNSUPPORTED` where it must `claim` the run with its first status.

    Raises LlamaDuoError where another one is at work, InputError where the run has ended.
    """
    may_start(run, run.status().state)  # before the first file is touched
    with writable(run.folder):
        run.check_is_run()
        file = os.fdopen(os.open(run.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+")
    with file:
        locked = file_lock.take(file, WAIT_S)
        holder = run.status()
        if locked is Locked.HELD or _works(run, holder, locked):
            raise _has_worker(run, holder)
        may_start(run, holder.state)
        end_orphan(run, holder.child)
        yield locked


def claim(run: Run, worker: str) -> None:
    """Make sure, where no lock does, that the status written as this worker was not overwritten by another one.

    Raises LlamaDuoError where it was.
    """
    time.sleep(CLAIM_S)
    holder = run.status()
    if holder.worker != worker:
        raise _has_worker(run, holder)


def shows_life(run: Run, seconds: float) -> bool:
    """Whether a worker's heartbeat is seen within so many seconds, whatever its clock says."""
    before = run.status()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = run.status()
        if (now.worker, now.heartbeat) != (before.worker, before.heartbeat):
            return now.state.working
        time.sleep(POLL_S)
    return False


def awaited(run: Run) -> str:
    """What taking a run up waits for, in a sentence, where only a heartbeat can tell if its worker lives; "" else."""
    holder = run.status()
    process = holder.process
    if not holder.state.working or process is None or process.here:
        return ""
    if process.same_boot and file_lock.is_held(run.lock_file) is not None:
        return ""
    return (
        f"{run.name} was last worked on elsewhere ({where(process)}): waiting {LEASE_S:.0f} s for a heartbeat, "
        "to be sure that this worker is gone"
    )


def where(process: Process | None) -> str:
    """A worker for people: its pid here, and its host where that is another one."""
    if process is None:
        return "pid unknown"
    return f"pid {process.pid}" if process.here else f"pid {process.pid} on {process.host}"


def _works(run: Run, holder: Status, locked: Locked) -> bool:
    """Whether the worker of a status is at work, though the lock was free; waits where only its heartbeat can tell."""
    process = holder.process
    if not holder.state.working or process is None:
        return False
    if process.here:
        return process.alive and process.pid != os.getpid()
    if process.same_boot and locked is Locked.MINE:
        return False
    return shows_life(run, LEASE_S)


def _has_worker(run: Run, holder: Status) -> LlamaDuoError:
    return LlamaDuoError(
        f"{run.name} already has a worker ({where(holder.process)})", f"follow it: llamaduo-tui logs {run.name} -f"
    )
