"""Following a run in plain lines until it ends.

The follower may go at any time, by Ctrl+C, a closed terminal or a broken pipe: the worker goes on without it.
Exit statuses: 0 the target is reached, 3 ended without reaching it, 130 left before its end, whether it still works or
was stopped; else as it failed.
"""

from __future__ import annotations

import time

from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import EventReader
from engine.protocol.questions import Question
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui.paths import called
from llamaduo_tui.views import log_lines
from llamaduo_tui.views.questions import wording
from llamaduo_tui.views.run_view import RunView, reduce
from llamaduo_tui.views.text import one_line

POLL_S = 0.2
GONE_AFTER = 5
"""Polls in a row that find no worker before the follower reports it: the last event may still be on its way."""

LEFT = 130
_EXIT_STATUS = {State.REACHED: 0, State.MISSED: 3, State.STOPPED: LEFT}


def follow(run: Run) -> int:
    """Print what happens in a run until it ends, then how it ended, and give its exit status.

    Raises LlamaDuoError, with its exit status, for a run that failed and for a worker that is gone.
    """
    try:
        view = _watch(run)
    except KeyboardInterrupt:
        print(f"{run.name} goes on in the background. Follow it: llamaduo-tui attach {called(run)}")
        print(f"Stop it: llamaduo-tui stop {called(run)}")
        return LEFT
    return conclude(run, view)


def conclude(run: Run, view: RunView) -> int:
    """Print how an ended run came out and give its exit status; raises LlamaDuoError for one that failed."""
    for line in log_lines.summary(view, run.folder):
        print(line)
    if view.failure is not None:
        failed = LlamaDuoError(one_line(view.failure.error), one_line(view.failure.hint))
        failed.exit_status = view.failure.exit_status
        raise failed
    return _EXIT_STATUS[view.outcome.state] if view.outcome is not None else LEFT


def worker_gone(run: Run) -> LlamaDuoError:
    """The error for a worker that ended without an event: its pid, and the last line of its log."""
    process = run.status().process
    last = log_lines.last_line(run)
    return LlamaDuoError(
        f"the worker (pid {process.pid if process else 'unknown'}) is gone"
        + (f"; last log line: {last}" if last else ""),
        f"llamaduo-tui resume {called(run)}   (its whole log: {run.log_file})",
    )


def _watch(run: Run) -> RunView:
    """The view at the end of the run."""
    reader, lines, view, gone = EventReader(run.events_file), log_lines.Lines(), RunView(), 0
    while True:
        state = run.status().seen(time.time())
        new = reader.read_new()
        for event in new:
            view = reduce(view, event)
            for line in lines.of(event):
                print(line, flush=True)
        if view.asked is not None and view.asked in new:
            print(f"         it waits for you: {_command(run, view.asked.question)}", flush=True)
        if view.concluded:
            return view
        gone = 0 if state.working else gone + 1
        if gone >= GONE_AFTER:
            raise worker_gone(run)
        time.sleep(POLL_S)


def _command(run: Run, question: Question) -> str:
    return wording(question.kind).command(run, question)
