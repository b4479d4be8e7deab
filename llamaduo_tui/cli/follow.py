"""Following a run in plain lines until it ends.

The follower may go at any time, by Ctrl+C, a closed terminal or a broken pipe: the worker goes on without it.
Exit statuses: 0 the target is reached, 3 ended without reaching it, 130 left while the run goes on, else as it failed.
"""

from __future__ import annotations

import time

from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import Event, EventReader
from engine.protocol.run_dir import Run
from llamaduo_tui.paths import called
from llamaduo_tui.views import log_lines, phrases
from llamaduo_tui.views.run_view import RunView, reduce
from llamaduo_tui.views.text import one_line

POLL_S = 0.2
GONE_AFTER = 5
"""Looks in a row that find no worker before the follower says so: its last event may still be on its way."""

LEFT_RUNNING = 130


def follow(run: Run) -> int:
    """Print what happens in a run until it ends, then how it ended, and give its exit status.

    Raises LlamaDuoError, with its exit status, for a run that failed and for a worker that is gone.
    """
    try:
        view = _watch(run)
    except KeyboardInterrupt:
        print(f"{run.name} goes on without you. Follow it: llamaduo-tui attach {called(run)}")
        print(f"Stop it: llamaduo-tui stop {called(run)}")
        return LEFT_RUNNING
    return conclude(run, view)


def conclude(run: Run, view: RunView) -> int:
    """Print how an ended run came out and give its exit status; raises LlamaDuoError for one that failed."""
    for line in log_lines.summary(view, run.folder):
        print(line)
    if view.failure is not None:
        failed = LlamaDuoError(one_line(view.failure.error), one_line(view.failure.hint))
        failed.exit_status = view.failure.exit_status
        raise failed
    return 0 if view.outcome is not None and view.outcome.state == "reached" else 3


def worker_gone(run: Run) -> LlamaDuoError:
    """What to say of a worker that ended without a word: its pid, and the last line of its log."""
    process = run.status().process
    said = log_lines.last_line(run)
    return LlamaDuoError(
        f"the worker (pid {process.pid if process else 'unknown'}) is gone"
        + (f"; its last words: {said}" if said else ""),
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
        _ask(run, view, new)
        if view.ended:
            return view
        gone = gone + 1 if state in ("new", "crashed", "reached", "stopped", "failed") else 0
        if gone >= GONE_AFTER:
            raise worker_gone(run)
        time.sleep(POLL_S)


def _ask(run: Run, view: RunView, new: list[Event]) -> None:
    if view.look is not None and view.look in new:
        answers = f"llamaduo-tui approve {called(run)}   (to see them: llamaduo-tui attach {called(run)}, then d)"
        print(f"         it waits until you have looked: {answers}", flush=True)
    if view.approval is not None and view.approval in new:
        answers = f"llamaduo-tui approve {called(run)}   (or: reject, stop)"
        print(f"         it waits until you answer: {answers}", flush=True)
    if view.used_up is not None and view.used_up in new:
        print(f"         it waits until you raise it: {phrases.budget_command(run, view.used_up)}", flush=True)
