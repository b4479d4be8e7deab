"""status.json: the state of a run, and the processes that work on it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import StrEnum

from engine.protocol.questions import Question


class State(StrEnum):
    """Where a run is. One that has ended never goes on; of the others, those without a worker may be resumed."""

    NEW = "new"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    STOPPED = "stopped"
    FAILED = "failed"
    REACHED = "reached"
    MISSED = "missed"

    # Only readers see these: no worker writes them.
    STALE = "stale"
    CRASHED = "crashed"
    UNREADABLE = "unreadable"

    @property
    def ended(self) -> bool:
        """Whether its target is reached or missed for good, with a report."""
        return self in (State.REACHED, State.MISSED)

    @property
    def working(self) -> bool:
        """Whether a worker is at it."""
        return self in (State.RUNNING, State.WAITING, State.PAUSED, State.STALE)

    @property
    def resumable(self) -> bool:
        """Whether a new worker may take it up."""
        return self in (State.NEW, State.STOPPED, State.FAILED, State.CRASHED)


STALE_AFTER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that can be told from a later one with the same pid, on this host."""

    pid: int
    started: float
    host: str

    @classmethod
    def of(cls, pid: int) -> Process:
        import psutil  # it takes longer to import than a list of runs to read

        return cls(pid=pid, started=psutil.Process(pid).create_time(), host=socket.gethostname())

    @property
    def here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it still runs; a process of another host counts as alive, since it can't be checked from here."""
        if not self.here:
            return True
        import psutil

        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a reader needs without reading the events; `question` is the open one, for which the run waits.

    `silent_since`, in seconds since the epoch, is when a service that does not answer had its first fault.
    """

    state: State = State.NEW
    process: Process | None = None
    child: Process | None = None
    heartbeat: float = 0.0
    round: int | None = None
    stage: str | None = None
    question: Question | None = None
    calls: int = 0
    cached_calls: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    worked_s: float = 0.0
    silent_since: float | None = None

    def seen(self, now: float) -> State:
        """The state for a reader, who also tells `crashed` (the pid is gone) and `stale` (no heartbeat)."""
        if not self.state.working or self.process is None:
            return self.state
        if not self.process.alive:
            return State.CRASHED
        return State.STALE if now - self.heartbeat > STALE_AFTER_S else self.state
