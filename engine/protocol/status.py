"""status.json: the state of a run, and the processes that work on it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from enum import StrEnum

import msgspec

from engine.protocol.boot import boot_id, pid_space, start_of
from engine.protocol.counts import number_of
from engine.protocol.durations import duration
from engine.protocol.outlook import Outlook
from engine.protocol.questions import Question
from engine.protocol.records import RoundNumber


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
    PRIVATE = "private"

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


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process that can be told from a later one with the same pid.

    `started`, `boot` and `space` do that, as `engine.protocol.boot` gives them; older versions wrote `started` in
    seconds since the epoch, and no boot. `host` is for people: it may be renamed, and several may share a name.
    """

    pid: int
    started: float
    host: str
    boot: str = ""
    space: str = ""

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process of this machine with a pid; one that is gone already is never alive."""
        started = start_of(pid)
        return cls(
            pid=pid,
            started=-1.0 if started is None else started,
            host=socket.gethostname(),
            boot=boot_id(),
            space=pid_space(),
        )

    @property
    def same_boot(self) -> bool:
        """Whether it belongs to this boot of this machine, if to another container: locks are shared with it."""
        return bool(self.boot) and self.boot == boot_id()

    @property
    def here(self) -> bool:
        """Whether its pid means the same process here as where it was written down."""
        return self.same_boot and self.space == pid_space()

    @property
    def alive(self) -> bool:
        """Whether it still runs; one that cannot be checked from here counts as alive."""
        return not self.here or start_of(self.pid) == self.started


class Stopping(msgspec.Struct, frozen=True, kw_only=True):
    """What a run that is about to end waits for: `calls` in flight, which are paid for, at most until `until`.

    `until` is in seconds since the epoch.
    """

    calls: int
    until: float

    def said(self, now: float) -> str:
        """What completes "the run ...": "waits for 8 calls in flight, at most 45 s"; `now` is by the worker's clock."""
        calls = number_of(self.calls, "call")
        return f"waits for {calls} in flight, at most {duration(self.until - now)}"


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
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


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader needs without reading the events; `question` is the open one, for which the run waits.

    `worker` names the worker that wrote it: each has a new name. `heartbeat` is when, in seconds since the epoch by its
    host's clock, and `beat` the same on a clock of its boot that is never set.

    `interrupted_calls` are those that were sent and whose responses are lost; they may have cost `interrupted_usd`
    besides `cost_usd`. `silent_since`, in seconds since the epoch, is when a service that does not answer had its first
    fault. `stopping` is set while a worker that is about to end waits for calls in flight, `dropped` after an end that
    did not. `record` is the SHA-256 of record.json, once the run has ended.
    `outlook` is what is left of the run, as its worker last knew it.
    """

    state: State = State.NEW
    process: Process | None = None
    child: Process | None = None
    worker: str = ""
    heartbeat: float = 0.0
    beat: float | None = None
    round: RoundNumber | None = None
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
    outlook: Outlook | None = None

    @property
    def spent_usd(self) -> float:
        """What counts against the budget, in USD: the cost, and the most that interrupted calls may have cost."""
        return self.cost_usd + self.interrupted_usd

    @property
    def paid_usd(self) -> float | None:
        """What was paid, in USD; None where calls count as nothing since no price of theirs is known."""
        priced = self.outlook is None or self.outlook.usd is not None
        return self.cost_usd if priced or self.cost_usd else None

    def seen(self, now: float, held: Callable[[], bool | None] = lambda: None) -> State:
        """The state for a reader, who also tells `crashed` (no worker), `stale` (no heartbeat) and `stopping`.

        A worker that can't be checked from here, on another host or before a reboot, is gone where its lock is free
        (`held` gives whether the run's lock is held, None where nobody can tell) and its heart has stopped. What this
        says of it is for show: before a worker takes such a run up, it watches for a heartbeat.
        """
        if not self.state.working or self.process is None:
            return self.state
        process, silent = self.process, self._silent(now)
        if process.here:
            if not process.alive:
                return State.CRASHED
        elif not (taken := held()) and (silent or (taken is False and process.same_boot)):
            return State.CRASHED
        if silent:
            return State.STALE
        return self.state if self.stopping is None else State.STOPPING

    def _silent(self, now: float) -> bool:
        """Whether no heartbeat came for a while: here by a clock that is never set, else by that of both hosts.

        Hosts' clocks may differ by more than that in either direction.
        """
        if self.process is None or not self.process.here:
            return abs(now - self.heartbeat) > STALE_AFTER_S
        return (now - self.heartbeat if self.beat is None else time.monotonic() - self.beat) > STALE_AFTER_S
