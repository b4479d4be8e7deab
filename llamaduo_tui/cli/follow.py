"""A run in plain lines: its events so far, the raw output of its processes, or all that happens until it ends.

The follower may leave at any time, by Ctrl+C, a closed terminal or a broken pipe: the worker continues without it.
Exit statuses: 0 target reached, 3 target missed, 130 left before the end, while the run works or after a stop by hand;
a failed run exits as it failed.
"""

from __future__ import annotations

import codecs
import os
import time

from engine.protocol import plain_file
from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import EventReader, RunFailed
from engine.protocol.release import next_commands
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from engine.protocol.terminal import say
from llamaduo_tui.paths import called
from llamaduo_tui.views import log_lines
from llamaduo_tui.views.questions import wording
from llamaduo_tui.views.run_view import RunView, reduce
from llamaduo_tui.views.text import clean, one_line

POLL_S = 0.2
CHUNK = 65536
GONE_AFTER = 5
"""Polls in a row that find no worker before the follower reports it: the last event may still be on its way."""

LEFT = 130
_EXIT_STATUS = {State.REACHED: 0, State.MISSED: 3, State.STOPPED: LEFT}


def print_events(run: Run) -> None:
    """Print a run's events so far."""
    lines, event = log_lines.Lines(dates=True), None
    for event in EventReader(run.events_file).new():
        for line in lines.of(event):
            say(line)
    if isinstance(event, RunFailed) and event.hint:
        say(f"hint: {one_line(event.hint)}")


def print_output(run: Run, following: bool) -> None:
    """Print the output of a run's processes, worker.log; when `following`, until the worker ends."""
    if not run.log_file.exists():
        return
    decoder, read = codecs.getincrementaldecoder("utf-8")("replace"), 0
    with plain_file.open_file(run.log_file) as file:
        while True:
            at_work = following and run.state().working
            if file.seek(0, os.SEEK_END) < read:  # it has been rotated
                read = 0
            file.seek(read)
            while data := file.read(CHUNK):
                read += len(data)
                print(clean(decoder.decode(data)), end="", flush=True)
            if not at_work:
                return
            time.sleep(POLL_S)


RECORDING = (State.RUNNING, State.STOPPING)
"""In which a run may be behind its last event: its record is made then."""


def follow(run: Run) -> int:
    """Print what happens in a run until it ends, then the result, and return its exit status.

    Raises LlamaDuoError, with its exit status, for a run that failed and for a worker that is gone.
    """
    try:
        view = _watch(run)
    except KeyboardInterrupt:
        if run.state() is State.STOPPING:
            say(f"{run.name} still stops. To drop its calls in flight: llamaduo-tui stop {called(run)} --now")
            return LEFT
        say(f"{run.name} keeps running. Follow it: llamaduo-tui attach {called(run)}")
        say(f"Stop it: llamaduo-tui stop {called(run)}")
        return LEFT
    return conclude(run, view)


def conclude(run: Run, view: RunView) -> int:
    """Print how an ended run came out and give its exit status; raises LlamaDuoError for one that failed."""
    for line in log_lines.summary(view, run.folder):
        say(line)
    if view.failure is not None:
        failed = LlamaDuoError(one_line(view.failure.error), one_line(view.failure.hint))
        failed.exit_status = view.failure.exit_status
        raise failed
    if view.outcome is not None and view.outcome.state is State.REACHED and view.outcome.best_round:
        say("next:")
        for line in next_commands(called(run)):
            say(f"  {line}")
    return _EXIT_STATUS[view.outcome.state] if view.outcome is not None else LEFT


def worker_gone(run: Run) -> LlamaDuoError:
    """The error for a worker that ended without an event: its pid, and the last line of its log."""
    process = run.status().process
    last = log_lines.last_line(run)
    return LlamaDuoError(
        f"the worker (pid {process.pid if process else 'unknown'}) is gone"
        + (f"; last log line: {last}" if last else ""),
        f"llamaduo-tui resume {called(run)}   (full log: {run.log_file})",
    )


def _watch(run: Run) -> RunView:
    """The view at the end of the run."""
    reader, lines, view, gone = EventReader(run.events_file), log_lines.Lines(dates=True), RunView(), 0
    while True:
        state = run.state()
        before = view.asked
        for event in reader.new():
            view = reduce(view, event)
            for line in lines.of(event):
                say(line)
        if view.asked is not None and view.asked != before:
            question = view.asked.question
            say(f"         it waits for you: {wording(question.kind).command(run, question)}")
        if view.concluded and state not in RECORDING:
            return view
        gone = 0 if state.working else gone + 1
        if gone >= GONE_AFTER:
            raise worker_gone(run)
        time.sleep(POLL_S)
