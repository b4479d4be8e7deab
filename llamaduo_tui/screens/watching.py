"""What the screen of a run reads, each in a thread of its own: the run, its machine, and its lowest answers."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass

from textual import work
from textual.message import Message

from engine.protocol.errors import LlamaDuoError
from engine.protocol.machine import Machine, MachineRow
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.screens.question import QuestionScreen
from llamaduo_tui.views import answers, machine
from llamaduo_tui.views.answers import Answers
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.watcher import RunWatcher

POLL_S = 0.25
MACHINE_S = 3.0


@dataclass
class AnswersRead(Message):
    """The worst answers, None where nothing may be read; `of` is what the run had scored then."""

    answers: Answers | None
    of: object


@dataclass
class MachineSampled(Message):
    """How busy the machine is, and all that the run has recorded of its own, where that is new."""

    machine: Machine
    recorded: tuple[MachineRow, ...] | None


class WatchingScreen(QuestionScreen):
    """Posts what is new until the screen is closed."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._left = threading.Event()

    def on_unmount(self) -> None:
        self._left.set()

    @work(thread=True, group="watch", exit_on_error=False)
    def watch_run(self) -> None:
        """Post what is new of the run."""
        watcher, first = RunWatcher(self.run, self.now), True
        while not self._left.is_set():
            try:
                with gc_paused() if first else nullcontext():
                    update = watcher.poll(self._left.is_set)
                first = False
            except (OSError, ValueError, TypeError, KeyError) as error:
                self.post_message(messages.ReadFailed(_problem(error)))
                update = None
            if update is not None:
                self.post_message(messages.RunChanged(self.run, update))
            self._left.wait(POLL_S)

    @work(thread=True, group="machine", exit_on_error=False)
    def watch_machine(self) -> None:
        """Post the load of this machine, and what the worker has recorded of its own."""
        history = machine.History(self.run)
        while not self._left.is_set():
            recorded = None
            try:
                recorded = history.new()
            except (OSError, LlamaDuoError) as error:
                self.post_message(messages.ReadFailed(_problem(error)))
            self.post_message(MachineSampled(machine.sample(), recorded))
            self._left.wait(MACHINE_S)

    def now(self) -> float:
        """The app's clock."""
        return float(self.app.clock())  # type: ignore[attr-defined]

    @work(thread=True, group="answers", exclusive=True, exit_on_error=False)
    def find_answers(self, of: object, *, sealed: bool) -> None:
        """Read the lowest answers of the newest judged round, or of the sealed test."""
        try:
            found = answers.worst(self.run, sealed=sealed)
        except PermissionError:  # of another user, who does not share them
            found = None
        except (OSError, LlamaDuoError) as error:
            self.post_message(messages.ReadFailed(_problem(error)))
            return
        self.post_message(AnswersRead(found, of))


def _problem(error: Exception) -> str:
    """Why a run cannot be read, and what to do about it where that is known."""
    if isinstance(error, LlamaDuoError):
        return "; ".join(filter(None, (error.message, error.hint)))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"
