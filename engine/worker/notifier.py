"""Tells people outside of the terminal when their run waits, fails or ends, or has long had no answer: once each.

Messages are sent by a process of their own, so that a dead target holds nothing up, and the last one outlives the
worker. The events record each message before it is sent: a new worker repeats none.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import asdict

from engine.notify import notice
from engine.notify.notice import Notice, Situation
from engine.protocol import isolation, jsonl
from engine.protocol.decision import Decision
from engine.protocol.events import Emit, Event, Log, Notified, QuestionAsked, RoundScored, RunFailed, RunFinished
from engine.protocol.run_dir import Run
from engine.protocol.status import Status
from engine.settings.schema import Migration
from engine.worker.environment import for_messages

LOOK_S = 5.0


class Notifier:
    """The messages of a run; without targets in the settings there are none."""

    def __init__(self, run: Run, settings: Migration, emit: Emit, status: Callable[[], Status]) -> None:
        """`status` gives the run's status now."""
        self._run, self._settings, self._emit, self._status = run, settings, emit, status
        self._on = bool(settings.notify.targets)
        self._told = _told(run) if self._on else set[str]()
        self._decision: Decision | None = None
        self._ended = False

    def hear(self, event: Event) -> None:
        """Send a message where the event asks for one; it returns at once."""
        if not self._on:
            return
        match event:
            case RoundScored():
                self._decision = event.decision
            case QuestionAsked(question=question):
                self._tell(f"waits/{question.key}", lambda now: notice.waits(now, question))
            case RunFailed():
                self._ended = True
                self._tell(f"failed/{event.seq}", lambda now: notice.failed(now, event))
            case RunFinished() if event.state.ended:
                self._ended = True
                self._tell(f"ended/{event.state}", lambda now: notice.ended(now, event))
            case RunFinished():
                self._ended = True

    async def watch(self) -> None:
        """Look now and then whether the service has been silent for long, until this is cancelled."""
        missing = self._settings.notify.missing(os.environ)
        if self._on and missing:
            self._emit(Log(level="warning", message=f"[notify]: {', '.join(missing)} not in the environment"))
        while self._on:
            self.look(time.time())
            await asyncio.sleep(LOOK_S)

    def look(self, at: float) -> None:
        """Tell that the service has been silent for long, where it has."""
        since = self._status().silent_since
        if self._on and since is not None and at - since >= 60 * self._settings.notify.silent_minutes:
            self._tell(f"silent/{since:.0f}", lambda now: notice.silent(now, since, at))

    def _tell(self, about: str, say: Callable[[Situation], Notice]) -> None:
        if about in self._told:
            return
        self._told.add(about)
        try:
            said = say(self._situation())
            self._emit(Notified(about=about, title=said.title, targets=tuple(self._settings.notify.targets)))
            self._send(said)
        except OSError as error:  # a full disk, no process: the run is worth more than the message
            print(f"a message could not be sent: {error}", file=sys.stderr)

    def _situation(self) -> Situation:
        status = self._status()
        decision = self._decision
        if decision is None and status.round is not None:
            decision = self._run.decision(status.round)
        return Situation(run=self._run, status=status, target=self._settings.target, decision=decision)

    def _send(self, said: Notice) -> None:
        process = subprocess.Popen(
            isolation.module("engine.notify"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=for_messages(self._settings, os.environ),
            start_new_session=True,
        )
        assert process.stdin is not None
        given = {"settings": self._settings.notify.model_dump(), "notice": asdict(said)}
        process.stdin.write(json.dumps(given).encode())  # at once: this worker may be about to end
        process.stdin.close()
        threading.Thread(target=self._follow, args=(process,), daemon=True).start()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Report targets that did not get the message, as long as somebody reads the events."""
        assert process.stdout is not None
        with process.stdout:
            output = process.stdout.read()
        process.wait()
        try:
            deliveries: list[dict[str, Any]] = json.loads(output)
        except ValueError:
            deliveries = [{"target": "all targets", "problem": f"exit status {process.returncode}"}]
        for delivery in deliveries:
            if delivery["problem"] and not self._ended:
                message = f"a message was not sent by {delivery['target']}: {delivery['problem']}"
                self._emit(Log(level="warning", message=message))


def _told(run: Run) -> set[str]:
    """What earlier workers have told."""
    kind = f'"kind":"{Notified.kind}"'.encode()
    rows = (jsonl.loads(line) for line in jsonl.lines(run.events_file) if kind in line)
    return {str(row.get("about")) for row in rows if isinstance(row, dict)}
