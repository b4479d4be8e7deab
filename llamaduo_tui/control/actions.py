"""People's actions on a run from any terminal: answer, raise its budget, stop, pause, continue and delete."""

from __future__ import annotations

import contextlib
import math
import shlex
import time
from collections.abc import Callable
from typing import Literal

from engine.protocol import commands, run_files
from engine.protocol.commands import Control
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.limits import MOST_CALLS, MOST_PAIRS, MOST_USD
from engine.protocol.lock import lock, shows_life
from engine.protocol.person import person
from engine.protocol.processes import terminate
from engine.protocol.questions import APPROVE, BATCH, BUDGET, REJECT, ROUND, Answer, Question
from engine.protocol.run_dir import FORMAT, Run
from engine.protocol.sharing import check_mine
from engine.protocol.status import Process, State, Status
from llamaduo_tui.paths import called
from llamaduo_tui.views import phrases
from llamaduo_tui.views.questions import budget_command, wording
from llamaduo_tui.views.text import one_line

POLL_S = 0.1
PAUSE_S = 5.0
STOP_S = 20.0
TERMINATE_S = 10.0
WATCH_S = 5.0
"""Two heartbeats, and a little more."""


def answer(run: Run, choice: str, pairs: int | None = None) -> str:
    """Answer the open question of a run, and say which answer counts: the first one.

    Raises InputError for a run that doesn't wait, that doesn't take this answer, or that was answered otherwise.
    """
    check_mine(run)
    if pairs is not None and not 1 <= pairs <= MOST_PAIRS:
        raise InputError(f"{pairs:,} pairs cannot be written in a round", f"give 1 to {MOST_PAIRS:,}")
    status = run.status()
    question = _open_question(run, status)
    if question.cap:
        reason = one_line(question.reason)
        raise InputError(f"{run.name} waits for budget, not for approval: {reason}", budget_command(run, question))
    if choice not in question.choices:
        raise InputError(
            f"{run.name} waits for {wording(question.kind).waits_for} and cannot take the answer {choice!r}",
            wording(question.kind).command(run, question),
        )
    given = commands.answer(run.commands_file, question)
    if given is None:
        mine = Answer(question=question.key, choice=choice, pairs=pairs or question.pairs, by=person())
        commands.send(run.commands_file, mine)
        given = commands.answer(run.commands_file, question) or mine
        if given.id == mine.id:
            return f"{_about(question)}: {_described(question, given)}"
    by = f" by {one_line(given.by, 80)}" if given.by not in ("", person()) else ""
    described = f"{_about(question)} was already {_described(question, given)}{by}"
    if given.choice != choice:
        raise InputError(described, "the first answer counts")
    return described


def raise_budget(run: Run, usd: float | None = None, calls: int | None = None) -> str:
    """Write higher caps, in USD and in calls, into a run's settings; describe what was spent and what follows.

    A worker takes them at once, a later one from its start. Raises InputError for a run that has ended, and for a cap
    that would not let it go on.
    """
    check_mine(run)
    status = run.status()
    state = run.seen(status)
    if state.ended:
        raise InputError(f"{run.name} has ended and makes no more calls", f"see: llamaduo-tui status {called(run)}")
    question = status.question if state.working else None
    short = question if question is not None and question.kind == BUDGET else None
    least_usd = short.least if short is not None and short.cap == "usd" else status.spent_usd
    used = status.calls + status.interrupted_calls
    least_calls = math.ceil(short.least) if short is not None and short.cap == "calls" else used
    if usd is not None and not least_usd <= usd < math.inf:
        cents = math.ceil(least_usd * 100) / 100
        raise InputError(
            f"${usd:.2f} is too little: ${status.spent_usd:.2f} has been spent", f"give at least {cents:.2f}"
        )
    if calls is not None and calls < least_calls:
        raise InputError(f"{calls:,} calls are too few: {used:,} have been made", f"give at least {least_calls}")
    if (usd or 0) > MOST_USD or (calls or 0) > MOST_CALLS:
        raise InputError("the budget is out of range", f"give at most ${MOST_USD:,.0f} and {MOST_CALLS:,} calls")
    from engine.settings import budget  # reads settings, which takes longer to import than a plain approval

    caps = budget.write(run, usd, calls)
    follows = f"; resume it: llamaduo-tui resume {called(run)}" if state.resumable else ""
    if short is not None:
        settled = (usd if short.cap == "usd" else calls) is not None
        if settled:
            given = Answer(question=short.key, choice=APPROVE, usd=usd, calls=calls, by=person())
            commands.send(run.commands_file, given)
        if state is State.WAITING:
            follows = "; the run continues" if settled else f"; the run still waits: {one_line(short.reason)}"
    spent = f"spent ${status.spent_usd:.2f} and {phrases.count(used, 'call')} so far"
    return f"{run.name}: {spent}; the budget is now {caps}{follows}"


def stop(run: Run, *, now: bool = False, tell: Callable[[str], None] = lambda _: None) -> str:
    """Stop a run's worker and wait until it is gone; what it has done so far is kept.

    It finishes the calls in flight first, which `tell` hears of; `now`, or a second stop, drops them. Raises
    LlamaDuoError where the worker is of another host, does not end, or is not provably this run's.
    """
    check_mine(run)
    status, state = _observed(run)
    worker = status.process
    if worker is None or not state.working:
        gone = f": {phrases.gone(status)}" if state is State.CRASHED else ""
        return f"{run.name} isn't running: it {phrases.state(state)}{gone}"
    commands.send(run.commands_file, _control(status, "stop", now=now))
    drops = now or state is State.STOPPING
    if _stops(run, worker, (lambda _: None) if drops else tell):
        return _stopped(run)
    if not worker.here:
        raise LlamaDuoError(
            f"{run.name} was asked to stop but still runs on {worker.host}", f"see: llamaduo-tui status {called(run)}"
        )
    terminate(run, worker)
    if _ends(run, worker, TERMINATE_S):
        return f"{run.name} is stopped (needed SIGTERM); resume it: llamaduo-tui resume {called(run)}"
    raise LlamaDuoError(
        f"the worker (pid {worker.pid}) was asked to stop but still runs", f"as a last resort: kill -9 {worker.pid}"
    )


def drop_calls(run: Run) -> str:
    """Let a run that is about to stop drop its calls in flight, without waiting for it."""
    check_mine(run)
    status = run.status()
    if status.process is not None and run.seen(status) is State.STOPPING:
        commands.send(run.commands_file, _control(status, "stop", now=True))
        return f"{run.name} drops its calls in flight"
    return f"{run.name} waits for no calls"


def waits(run: Run) -> str:
    """What a run that is about to stop waits for, in a sentence; "" for any other run."""
    status = run.status()
    if run.seen(status) is not State.STOPPING or status.stopping is None:
        return ""
    return f"{run.name} {status.stopping.said(status.heartbeat)}: they are paid for."


def pause(run: Run, on: bool) -> str:
    """Pause a working run, or let it continue; waits until its worker has obeyed.

    Raises InputError for a run that isn't running, LlamaDuoError where the worker does not respond.
    """
    check_mine(run)
    status, state = _observed(run)
    worker = status.process
    if worker is None or not state.working:
        raise InputError(f"{run.name} isn't running: it {phrases.state(state)}", _resume_hint(run, state))
    if state is State.STOPPING:
        raise InputError(f"{run.name} is stopping", _drop_hint(run))
    if (state is State.PAUSED) is not on:
        commands.send(run.commands_file, _control(status, "pause" if on else "resume"))
        end = time.monotonic() + PAUSE_S
        while (run.status().state is State.PAUSED) is not on:
            if time.monotonic() > end:
                raise LlamaDuoError(
                    f"the worker (pid {worker.pid}) was asked to {'pause' if on else 'continue'} but has not yet",
                    f"see: llamaduo-tui status {called(run)}",
                )
            time.sleep(POLL_S)
    return f"{run.name} is paused; continue: llamaduo-tui resume {called(run)}" if on else f"{run.name} continues"


def foreign(run: Run) -> str:
    """The files in a run's folder that the run didn't make, the first few of them; "" where there are none.

    Raises InputError for a folder that is no run, and for a run of somebody else.
    """
    check_mine(run)
    run.check_is_run()
    return phrases.paths(run_files.foreign(run), run.folder)


def delete(run: Run) -> str:
    """Delete a run's own files, and its folder unless something else is in it, which is kept and listed.

    Raises LlamaDuoError for a folder that is no run, for a run that has a worker, and for one that cannot be deleted.
    """
    if run.folder.is_symlink():
        raise InputError(
            f"{run.folder} is a link to {run.folder.resolve()}: a link is not deleted",
            f"remove the link: rm {shlex.quote(str(run.folder))}; or delete the run in its own folder",
        )
    check_mine(run)
    run.check_is_run()
    state = run.state()
    if state.working:
        raise InputError(f"{run.name} cannot be deleted while it is {state}", "stop it first")
    with contextlib.nullcontext() if state.ended else lock(run):
        try:
            kept = run_files.remove(run)
        except OSError as error:
            what = error.filename or run.folder
            raise LlamaDuoError(f"{what}: cannot be deleted: {error.strerror or error}") from None
    if not kept:
        return f"{run.name} is deleted"
    return (
        f"{run.name} is deleted; kept, since they are not the run's: {phrases.paths(kept, run.folder)} in {run.folder}"
    )


def _open_question(run: Run, status: Status) -> Question:
    state = run.seen(status)
    if state.working and run.format < FORMAT:
        raise InputError(
            f"the worker of {run.name} was started by an older version",
            "stop and resume the run, then answer its question",
        )
    if status.question is None or not state.working:
        raise InputError(f"{run.name} doesn't wait for an answer: it {phrases.state(state)}", _resume_hint(run, state))
    return status.question


def _observed(run: Run) -> tuple[Status, State]:
    """Status and state of a run. A worker that can't be checked from here is watched before it counts as gone."""
    status = run.status()
    state = run.seen(status)
    if state is State.CRASHED and status.process is not None and not status.process.same_boot:
        return (run.status(), State.RUNNING) if shows_life(run, WATCH_S) else (status, state)
    return status, state


def _control(status: Status, kind: Literal["pause", "resume", "stop"], *, now: bool = False) -> Control:
    """A command for the worker of a status."""
    assert status.process is not None
    return Control(kind=kind, worker=status.process.pid, to=status.worker, now=now, by=person())


def _resume_hint(run: Run, state: State) -> str:
    return f"llamaduo-tui resume {called(run)}" if state.resumable else ""


def _drop_hint(run: Run) -> str:
    return f"to stop it without the calls in flight: llamaduo-tui stop {called(run)} --now"


def _stops(run: Run, worker: Process, tell: Callable[[str], None]) -> bool:
    """Whether the worker ends, in the time that it needs for its calls in flight; `tell` hears of them once."""
    told = False
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if _ends(run, worker, POLL_S):
            return True
        status = run.status()
        if (stopping := status.stopping) is not None:
            if not told:
                deadline = time.monotonic() + max(0.0, stopping.until - status.heartbeat) + STOP_S
                tell(f"{run.name} {stopping.said(status.heartbeat)}: they are paid for")
                tell(_drop_hint(run))
            told = True
    return False


def _stopped(run: Run) -> str:
    """How a run ended that was stopped: its work may have ended by itself meanwhile."""
    status = run.status()
    state = run.seen(status)
    if state.ended:
        return f"{run.name} {phrases.state(state)} meanwhile; see: llamaduo-tui status {called(run)}"
    dropped = f"{status.dropped}; " if status.dropped is not None else ""
    return f"{run.name} {phrases.state(state)}; {dropped}resume it: llamaduo-tui resume {called(run)}"


def _ends(run: Run, worker: Process, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not (worker.alive if worker.here else run.status().state.working):
            return True
        time.sleep(POLL_S)
    return False


def _about(question: Question) -> str:
    return "the question" if question.round is None else f"round {question.round}"


def _described(question: Question, given: Answer) -> str:
    if given.choice == REJECT:
        follows = {ROUND: "; it ends with the best round", BATCH: "; its calls stay in batch jobs"}
        return f"rejected{follows.get(question.kind, '')}"
    if given.choice == APPROVE:
        return f"approved ({phrases.count(given.pairs, 'pair')})" if given.pairs else "approved"
    return f"answered with {one_line(given.choice, 40)!r}"
