"""Watches one run: its events added up, and the new lines of its logs, in batches.

The app calls `poll` in a thread; attaching to a run is the first poll.
"""

from __future__ import annotations

import codecs
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.protocol import plain_file
from engine.protocol.decision import FinalDecision
from engine.protocol.errors import DamagedError, LlamaDuoError
from engine.protocol.events import Event, EventReader, Log, RunFailed
from engine.protocol.outlook import Outlook
from engine.protocol.run_dir import Run
from engine.protocol.sharing import hides_events, may_change, owner
from engine.protocol.status import State, Stopping
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from llamaduo_tui.views import log_lines, phrases
from llamaduo_tui.views.run_view import RunView, reduce
from llamaduo_tui.views.shared_run import SharedRun
from llamaduo_tui.views.text import clean, one_line

KEPT_LINES = 20_000
TAIL_BYTES = 2 * 1024 * 1024
POLL_BYTES = 1024 * 1024
WRAP = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log, safe to show."""

    text: str
    level: str = "info"
    stage: str = ""


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """The whole view and state of a run, what it waits for before it stops, and the lines that are new.

    `silent_since` is when a service that does not answer had its first failure, in seconds since the epoch. `gone` says
    which worker is gone, for a run that has crashed, or that its folder is; `owner` whose run it is where that is
    another user, `final` what the sealed prompts decided.
    """

    view: RunView
    state: State
    settings: Migration | None
    events: list[Line]
    output: list[Line]
    stopping: Stopping | None = None
    mine: bool = True
    outlook: Outlook | None = None
    gone: str = "its worker is gone"
    owner: str = ""
    final: FinalDecision | None = None
    silent_since: float | None = None


class RunWatcher:
    """Reads a run from where it left off."""

    def __init__(self, run: Run, clock: Callable[[], float] = time.time) -> None:
        self._run = run
        self._clock = clock
        self._reader = EventReader(run.events_file)
        self._output = Tail(run.log_file)
        self._lines = log_lines.Lines()
        self._view = RunView()
        self._state: State | None = None
        self._stopping: Stopping | None = None
        self._silent_since: float | None = None
        self._settings: Migration | None = None
        self._final: FinalDecision | None = None
        self._final_read = False
        self._mine = may_change(run)
        self._shared = SharedRun(run) if hides_events(run) else None

    def poll(self, left: Callable[[], bool] = lambda: False) -> RunUpdate | None:
        """The run as it is now, None where nothing is new, or where the reader has `left` before all was read.

        Raises OSError and ValueError for unreadable files; poll again then.
        """
        if self._state is not None and not self._run.folder.is_dir():
            return self._moved()
        first, before = self._state is None, self._now()
        if first:
            self._settings = _settings(self._run)
        status = self._run.status()
        new = self._reader.new() if self._shared is None else self._shared.read_new(status)
        events: deque[Line] = deque(maxlen=KEPT_LINES)
        for event in new:
            if left():
                return None
            events.extend(self._take(event))
        events.extend(self._read_final())
        self._state, self._stopping = self._run.seen(status, self._clock()), status.stopping
        self._silent_since = status.silent_since
        output = self._output.read_new()
        if before == self._now() and not output:
            return None
        return RunUpdate(
            self._view,
            self._state,
            self._settings,
            list(events),
            output,
            self._stopping,
            self._mine,
            status.outlook,
            phrases.gone(status),
            owner(self._run),
            self._final,
            self._silent_since,
        )

    def _moved(self) -> RunUpdate | None:
        """Its folder is gone: what was read stays to be read, and nobody can act on it."""
        if self._state is State.UNREADABLE:
            return None
        self._state, self._stopping = State.UNREADABLE, None
        return RunUpdate(self._view, self._state, self._settings, [], [], mine=False, gone="its folder is gone")

    def _now(self) -> tuple[State | None, Stopping | None, float | None, RunView]:
        """What a change of is told: it makes an update."""
        return self._state, self._stopping, self._silent_since, self._view

    def _read_final(self) -> list[Line]:
        """Read what the sealed prompts decided, once the run has ended; gives a line where it is damaged."""
        outcome = self._view.outcome
        if self._final_read or outcome is None or not outcome.state.ended:
            return []
        self._final_read = True
        try:
            self._final = self._run.final_decision()
        except PermissionError:  # of another user, who does not share it
            return []
        except DamagedError as error:
            return [Line(one_line(str(error), WRAP), "error")]
        return []

    def _take(self, event: Event) -> Iterator[Line]:
        self._view = reduce(self._view, event)
        level = event.level if isinstance(event, Log) else "error" if isinstance(event, RunFailed) else "info"
        for text in self._lines.of(event):
            yield Line(text, level, event.stage or "")


class Tail:
    """The end of a growing text file, line by line; a line of any length comes whole, in pieces."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def read_new(self) -> list[Line]:
        """The new lines: of a long file its last 2 MiB at first, then at most 1 MiB a poll."""
        if not os.access(self._path, os.R_OK):
            return []
        lines: list[Line] = []
        with plain_file.open_file(self._path) as file:
            size = file.seek(0, 2)
            if self._offset is None or size < self._offset:
                self._offset = max(0, size - TAIL_BYTES)
                if self._offset:
                    lines.append(Line(f"… {self._offset:,} earlier bytes are in {clean(str(self._path))}"))
            file.seek(self._offset)
            data = file.read(TAIL_BYTES if lines else POLL_BYTES)
            self._offset += len(data)
        whole, _, self._rest = (self._rest + self._decoder.decode(data).replace("\r", "\n")).rpartition("\n")
        if len(self._rest) > WRAP or (self._rest and not data):
            whole, self._rest = f"{whole}\n{self._rest}" if whole else self._rest, ""
        shown = (line for line in clean(whole).split("\n") if line.strip())
        return lines + [Line(line[at : at + WRAP]) for line in shown for at in range(0, len(line), WRAP)]


def _settings(run: Run) -> Migration | None:
    """The run's settings; None where this version cannot read them: the run is shown without."""
    try:
        return settings_of(run)
    except (LlamaDuoError, PermissionError):
        return None
