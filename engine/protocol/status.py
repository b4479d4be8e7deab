"""status.json: the state of a run, and the processes that work on it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import StrEnum

from engine.protocol.durations import duration
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
    STOPPING = "stopping"
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
        return self in (State.RUNNING, State.WAITING, State.PAUSED, State.STOPPING, State.STALE)

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
class Stopping:
    """What a run that is about to end waits for: `calls` in flight, which are paid for, at most until `until`.

    `until` is in seconds since the epoch.
    """

    calls: int
    until: float

    def said(self, now: float) -> str:
        """What completes "the run ...": "waits for 8 calls in flight, at most 45 s"."""
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        return f"waits for {calls} in flight, at most {duration(self.until - now)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """The calls in flight that an end did not wait for, and the most that they may cost, in USD."""

    calls: int
    usd: float

    def __str__(self) -> str:
        one = self.calls == 1
        said = f"{self.calls:,} {'call was' if one else 'calls were'} dropped; "
        if not self.usd:
            return f"{said}resume sends {'it' if one else 'them'} again"
        may = "it may be billed" if one else "they may be billed"
        return f"{said}{may}, up to ${self.usd:.4f}, and {'counts' if one else 'count'} against the budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a reader needs without reading the events; `question` is the open one, for which the run waits.

    `interrupted_calls` are those that were sent and whose responses are lost; they may have cost `interrupted_usd`
    besides `cost_usd`. `silent_since`, in seconds since the epoch, is when a service that does not answer had its first
    fault. `stopping` is set while a worker that is about to end waits for calls in flight, `dropped` after an end that
    did not. `record` is the SHA-256 of record.json, once the run has ended.
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
    interrupted_calls: int = 0
    interrupted_usd: float = 0.0
    worked_s: float = 0.0
    silent_since: float | None = None
    stopping: Stopping | None = None
    dropped: Dropped | None = None
    record: str = ""

    @property
    def spent_usd(self) -> float:
        """What counts against the budget, in USD: the cost, and the most that interrupted calls may have cost."""
        return self.cost_usd + self.interrupted_usd

    def seen(self, now: float) -> State:
        """The state for a reader, who also tells `crashed` (the pid is gone), `stale` (no heartbeat) and `stopping`."""
        if not self.state.working or self.process is None:
            return self.state
        if not self.process.alive:
            return State.CRASHED
        if now - self.heartbeat > STALE_AFTER_S:
            return State.STALE
        return self.state if self.stopping is None else State.STOPPING
