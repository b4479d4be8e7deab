"""Keeps status.json up to date: the state of a run, with a heartbeat while its worker lives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid

from msgspec.structs import replace

from engine.protocol.questions import Question
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State, Status

HEARTBEAT_S = 2.0


def write_failed(run: Run) -> None:
    """Write the status of a run whose worker cannot begin; what it did before is kept."""
    nobody = {"process": None, "child": None, "stage": None, "question": None, "silent_since": None, "stopping": None}
    run.write_status(_changed(run.status(), {"state": State.FAILED, **nobody}))


class StatusWriter:
    """The writer of a run's status; `before` is the status that the last worker left."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._written = time.monotonic()
        self.before = run.status()
        self.status = replace(
            self.before,
            state=State.RUNNING,
            question=None,
            process=Process.of(os.getpid()),
            worker=uuid.uuid4().hex,
            child=None,
            silent_since=None,
            stopping=None,
            dropped=None,
        )

    @property
    def hours(self) -> float:
        """Hours of work on this run so far, by this worker and those before it; waiting is none."""
        return self.status.worked_s / 3600

    def note(self, **changes: object) -> None:
        """Change fields that are written with the next heartbeat."""
        self.status = _changed(self.status, changes)

    def write(self, **changes: object) -> None:
        """Change fields and write the status, with a fresh heartbeat."""
        now = time.monotonic()
        worked = now - self._written if self.status.state is State.RUNNING else 0.0
        self._written = now
        self.status = _changed(
            self.status,
            {
                "heartbeat": time.time(),
                "beat": round(now, 3),
                "worked_s": round(self.status.worked_s + worked, 3),
                **changes,
            },
        )
        self._run.write_status(self.status)

    def show(self, question: Question | None, *, held: bool) -> None:
        """Write the state: paused where the run is held, waiting where a question is open, else running."""
        state = State.PAUSED if held else State.WAITING if question is not None else State.RUNNING
        self.write(state=state, question=question)

    async def beat(self) -> None:
        """Write a heartbeat every other second, for as long as this is not cancelled."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            with contextlib.suppress(OSError):  # a full disk shows as a stale run; the stage at work will say why
                self.write()


def _changed(status: Status, changes: dict[str, object]) -> Status:
    return replace(status, **changes)
