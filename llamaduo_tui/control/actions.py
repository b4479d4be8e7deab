"""What people tell a run from any terminal: approve, reject, raise its budget, stop, pause, resume and delete."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import time

from engine.protocol import commands
from engine.protocol.commands import Command
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.events import EventReader
from engine.protocol.run_dir import Process, Run, lock
from llamaduo_tui.paths import called
from llamaduo_tui.views.phrases import budget_command
from llamaduo_tui.views.run_list import WORKING
from llamaduo_tui.views.run_view import RunView, reduce
from llamaduo_tui.views.text import one_line

POLL_S = 0.1
PAUSE_S = 5.0
STOP_S = 20.0
TERMINATE_S = 10.0


def view_of(run: Run) -> RunView:
    """All events of a run so far, added up."""
    view = RunView()
    for event in EventReader(run.events_file).read_new():
        view = reduce(view, event)
    return view


def answer(run: Run, approve: bool, pairs: int | None = None) -> str:
    """Answer a run that waits, for approval or for a look at its new pairs, and say what counts now.

    The first answer for a round counts. Raises InputError for a run that doesn't wait, or that was answered otherwise.
    """
    view, state = view_of(run), run.status().seen(time.time())
    waiting = view.approval
    if view.used_up is not None and state in WORKING:
        reason = one_line(view.used_up.reason)
        raise InputError(f"{run.name} waits for budget, not for approval: {reason}", budget_command(run, view.used_up))
    if view.look is not None and view.look.round is not None and state in WORKING:
        return _train(run, view.look.round, approve)
    if waiting is None or waiting.round is None or state in ("crashed", "stopped", "failed", "reached"):
        before = (
            f"round {view.answer.round} was {_said(view.answer.approved, view.answer.pairs)}" if view.answer else ""
        )
        hint = f"llamaduo-tui resume {called(run)}" if state in ("crashed", "stopped", "failed") else before
        raise InputError(f"{run.name} doesn't wait for an answer: it is {state}", hint)
    given = commands.answer(run.commands_file, waiting.round)
    if given is None:
        kind: commands.Kind = "approve" if approve else "reject"
        order = Command(kind=kind, round=waiting.round, pairs=(pairs or waiting.pairs) if approve else None)
        commands.send(run.commands_file, order)
        given = commands.answer(run.commands_file, waiting.round) or order
        if given.id == order.id:
            return f"round {waiting.round}: {_said(approve, order.pairs)}"
    said = f"round {waiting.round} was already {_said(given.kind == 'approve', given.pairs)}"
    if (given.kind == "approve") is not approve:
        raise InputError(said, "the first answer for a round counts")
    return said


def _train(run: Run, round_: int, approve: bool) -> str:
    """Say that a round's new pairs have been looked at; which of them are no good is said one by one, by choices."""
    if not approve:
        raise InputError(
            f"{run.name} waits for a look at round {round_}'s new pairs, not for approval",
            f"refuse pairs in the app: llamaduo-tui attach {called(run)}, then d",
        )
    if commands.answer(run.commands_file, round_, ("train",)) is None:
        commands.send(run.commands_file, Command(kind="train", round=round_))
    return f"round {round_}: looked at, it trains on the new pairs"


def raise_budget(run: Run, usd: float | None = None, calls: int | None = None) -> str:
    """Write higher caps, in USD and in calls, into a run's settings; say what was spent, and what comes of it.

    A worker obeys at once, a later one from its start. Raises InputError for a run that has ended, and for a cap that
    would not let it go on.
    """
    view, status = view_of(run), run.status()
    state = status.seen(time.time())
    if view.outcome is not None and view.outcome.report is not None:
        raise InputError(f"{run.name} has ended: nothing is left to pay for", f"see: llamaduo-tui status {called(run)}")
    short = view.used_up if state in WORKING else None
    least_usd = short.least if short is not None and short.cap == "usd" else status.cost_usd
    least_calls = math.ceil(short.least) if short is not None and short.cap == "calls" else status.calls
    if usd is not None and not least_usd <= usd < math.inf:
        cents = math.ceil(least_usd * 100) / 100
        raise InputError(f"${usd:.2f} is too little: ${status.cost_usd:.2f} are spent", f"give at least {cents:.2f}")
    if calls is not None and calls < least_calls:
        raise InputError(f"{calls} calls are too few: {status.calls} are used", f"give at least {least_calls}")
    from engine.settings import budget  # reads settings, which takes longer to import than a plain approval

    now = budget.write(run, usd, calls)
    spent = f"${status.cost_usd:.2f} and {status.calls:,} calls are spent"
    then = {"waiting": "it goes on"} if short is not None else {}
    then |= dict.fromkeys(("crashed", "stopped", "failed"), f"go on with: llamaduo-tui resume {called(run)}")
    return f"{run.name}: {spent}, the budget is now {now}" + (f"; {then[state]}" if state in then else "")


def stop(run: Run) -> str:
    """Stop a run's worker and wait until it is gone; what it has done so far is kept.

    Raises LlamaDuoError where it is of another host, or does not end.
    """
    status = run.status()
    state, worker = status.seen(time.time()), status.process
    if worker is None or state not in WORKING:
        gone = ": its worker is gone" if state == "crashed" else ""
        return f"{run.name} isn't running: it is {state}{gone}"
    commands.send(run.commands_file, Command(kind="stop", worker=worker.pid))
    if _ends(run, worker, STOP_S):
        return f"{run.name} is stopped; go on with: llamaduo-tui resume {called(run)}"
    if not worker.here:
        raise LlamaDuoError(
            f"{run.name} works on {worker.host}, which was told to stop", f"see: llamaduo-tui status {called(run)}"
        )
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.pid, signal.SIGTERM)
    if _ends(run, worker, TERMINATE_S):
        return f"{run.name} is stopped, after a second call; go on with: llamaduo-tui resume {called(run)}"
    raise LlamaDuoError(
        f"the worker (pid {worker.pid}) was told to stop but still works", f"at last: kill -9 {worker.pid}"
    )


def pause(run: Run, on: bool) -> str:
    """Hold a working run in its tracks, or let it go on; waits until its worker has obeyed.

    Raises InputError for a run that isn't at work, LlamaDuoError where the worker does not answer.
    """
    status = run.status()
    state, worker = status.seen(time.time()), status.process
    if worker is None or state not in WORKING:
        hint = f"llamaduo-tui resume {called(run)}" if state in ("crashed", "stopped", "failed") else ""
        raise InputError(f"{run.name} isn't at work: it is {state}", hint)
    if (state == "paused") is not on:
        commands.send(run.commands_file, Command(kind="pause" if on else "resume", worker=worker.pid))
        end = time.monotonic() + PAUSE_S
        while (run.status().state == "paused") is not on:
            if time.monotonic() > end:
                raise LlamaDuoError(
                    f"the worker (pid {worker.pid}) was told to {'pause' if on else 'go on'} but has not yet",
                    f"see: llamaduo-tui status {called(run)}",
                )
            time.sleep(POLL_S)
    return f"{run.name} is paused; go on with: llamaduo-tui resume {called(run)}" if on else f"{run.name} goes on"


def delete(run: Run) -> str:
    """Delete a run's folder with all that is in it.

    Raises LlamaDuoError for a run that is being worked on, or that cannot be deleted.
    """
    state = run.status().seen(time.time())
    if state in WORKING:
        raise InputError(f"{run.name} is being worked on: it is {state}", "stop it first")
    with lock(run):
        try:
            shutil.rmtree(run.folder)
        except OSError as error:
            raise LlamaDuoError(f"{run.folder}: cannot be deleted: {error.strerror}") from None
    return f"{run.name} is deleted"


def _ends(run: Run, worker: Process, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not (worker.alive if worker.here else run.status().working):
            return True
        time.sleep(POLL_S)
    return False


def _said(approved: bool, pairs: int | None) -> str:
    added = f" ({pairs:,} pairs)" if pairs else ""
    return f"approved{added}" if approved else "rejected: it ends with the best round"
