"""The one way in which a worker writes events: thinned and numbered, then passed on within the worker.

The outlook takes them for the time and money left, the notifier for the messages that it sends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec.structs import replace

from engine.estimate.outlook import Plan, Progress, outlook, plan_of
from engine.protocol.estimate import RunEstimate
from engine.protocol.events import Event, EventLog, Log, RunFinished, RunStarted
from engine.protocol.run_dir import FORMAT, Run
from engine.protocol.version import version
from engine.settings.schema import Migration
from engine.worker.notifier import Notifier
from engine.worker.status_writer import StatusWriter
from engine.worker.thinning import Thinning


class Recording:
    """Writes a run's events; all methods may be called from any thread."""

    def __init__(self, run: Run, settings: Migration, status: StatusWriter, plan: Callable[[], Plan]) -> None:
        """`plan` gives the plan of the run with the caps that hold now."""
        self._run, self._settings, self._status, self._plan = run, settings, status, plan
        self._events, self._thinning = EventLog(run.events_file), Thinning()
        self._progress = Progress.of(run)
        self._estimate: RunEstimate | None = None
        self._notifier = Notifier(run, settings, self._write, lambda: status.status)
        self._lock = threading.RLock()  # the notifier writes events while it hears of one
        self._closed = False

    def emit(self, event: Event) -> None:
        """Write an event, now or later if it is one of many; one without a stage belongs to the stage at work."""
        at_work = self._status.status
        if event.stage is None and at_work.stage is not None:
            event = replace(event, stage=at_work.stage, round=at_work.round)
        self._thinned(event)

    def end(self, ending: RunFinished) -> None:
        """Write the end. After that of a run that has ended for good nothing is written: its record has the events."""
        self._thinned(ending)

    def start(self, *, written_in: int, locked: bool) -> None:
        """Write that this worker has taken the run up, in which format it was, and whether it has a lock."""
        run, settings, plan = self._run, self._settings, plan_of(self._settings)
        self._write(
            RunStarted(
                name=run.name,
                pid=os.getpid(),
                resumed=self._events.last_seq > 0,
                sandbox=settings.uses_sandbox,
                model=settings.local.model,
                service=settings.service.model,
                max_rounds=settings.loop.max_rounds,
                version=version(),
                target_precision=plan.precision,
                target_similarity=plan.similarity,
            )
        )
        if written_in < FORMAT:
            older = f"the run was begun in format {written_in}, an older one; it goes on in format {FORMAT}"
            self._write(Log(level="info", message=older))
        if not locked:
            self.warn(f"the file system of {run.folder} has no locks: heartbeats keep other workers away instead")

    def warn(self, message: str) -> None:
        """Write a warning to the log."""
        self.emit(Log(level="warning", message=message))

    def watch(self) -> Coroutine[Any, Any, None]:
        """Send a message when the service has been silent for long, until this is cancelled."""
        return self._notifier.watch()

    def _thinned(self, event: Event) -> None:
        with self._lock:
            for one in self._thinning.of(event):
                self._write(one)

    def _write(self, event: Event) -> None:
        """Append an event as it is, and pass it on."""
        with self._lock:
            if self._closed:
                return
            written = self._events.append(event)
            if self._progress.take(written):
                self._look_ahead(written.time)
            self._notifier.hear(written)
            self._closed = isinstance(written, RunFinished) and written.state.ended

    def _look_ahead(self, now: float) -> None:
        """Note what is left of the run; the next heartbeat writes it."""
        self._estimate = self._estimate or self._run.estimate()
        self._status.note(outlook=outlook(self._progress, self._plan(), self._estimate, now))
