"""People's control of a worker: it pauses, goes on and stops as they tell it, and shows what it waits for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

from engine.protocol import commands
from engine.protocol.events import Emit, Log
from engine.protocol.processes import signal_tree
from engine.protocol.questions import Question
from engine.protocol.run_dir import Run
from engine.protocol.status import Process
from engine.service.client import Client
from engine.worker.status_writer import StatusWriter
from engine.worker.stopping import Stop

POLL_S = 0.25


class Controls:
    """Whether the work may go on: `going` is set while it may, and calls and stages wait for it."""

    def __init__(self, run: Run, status: StatusWriter, client: Callable[[], Client | None], emit: Emit) -> None:
        """`client` gives the client for the service, None before there is one."""
        self._file, self._status, self._client, self._emit = run.commands_file, status, client, emit
        self._sent_before = len(commands.controls(run.commands_file))
        self._question: Question | None = None
        self.going = asyncio.Event()
        self.going.set()
        self._stop = Stop(self.going)

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested."""
        return self._stop.requested

    def stop(self, work: asyncio.Task[Any], *, now: bool = False) -> None:
        """End the work once calls in flight are finished: they are paid for. `now`, or a second stop, drops them."""
        self._stop.request(work, self._client(), now=now)

    async def listen(self, work: asyncio.Task[Any] | None) -> None:
        """Obey the commands for this process: pause and resume as often as they come, and stop."""
        read, stops = 0, 0
        while True:
            await asyncio.sleep(POLL_S)
            if (size := commands.size(self._file)) == read:
                continue
            read = size
            sent = (await asyncio.to_thread(commands.controls, self._file))[self._sent_before :]
            me = self._status.status.worker
            mine = [c for c in sent if (c.to == me if c.to else c.worker == os.getpid())]
            asked = [c for c in mine if c.kind == "stop"]
            if work is not None and len(asked) > stops:
                self.stop(work, now=any(c.now for c in asked[stops:]))
                stops = len(asked)
            held = [c.kind for c in mine if c.kind != "stop"][-1:] == ["pause"]
            if not self.stopping and held == self.going.is_set():
                self._hold(held)

    def follow_child(self, pid: int) -> None:
        """Show the process of a stage; one that starts while the run is paused is paused, too."""
        self._status.write(child=Process.of(pid))
        if not self.going.is_set():
            signal_tree(pid, signal.SIGSTOP)

    def wait_for(self, question: Question | None) -> None:
        """Show which question the work waits for, or that it waits no longer."""
        self._question = question
        self._status.show(question, held=not self.going.is_set())

    def _hold(self, held: bool) -> None:
        """Pause or go on, at once: the stage's process is stopped, calls in flight are finished."""
        child = self._status.status.child
        if child is not None and child.alive:
            signal_tree(child.pid, signal.SIGSTOP if held else signal.SIGCONT)
        if held:
            self.going.clear()
        else:
            self.going.set()
        self._status.show(self._question, held=held)
        self._emit(Log(level="info", message="paused" if held else "resumed"))
