"""Runs at a glance: a table of all, the status of one, for people and for scripts."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from engine.protocol import records
from engine.protocol import run_dir as runs
from engine.protocol.decision import Decision
from engine.protocol.errors import InputError, LlamaDuoError, UnreadableError
from engine.protocol.events import last_failure
from engine.protocol.outlook import Outlook
from engine.protocol.processes import works_on
from engine.protocol.questions import ROUND
from engine.protocol.run_dir import FORMAT, Run
from engine.protocol.sharing import is_private, may_change, owner
from engine.protocol.status import State, Status
from engine.protocol.terminal import visible
from llamaduo_tui.paths import called
from llamaduo_tui.views import phrases
from llamaduo_tui.views.questions import wording
from llamaduo_tui.views.text import cells, one_line, padded


def find(root: Path, name: str) -> Run:
    """The run of this name or folder, or the only one whose name begins with it.

    Raises InputError where there is none, or more than one.
    """
    if "/" in name:
        folder = Path(name).expanduser().absolute()
        if folder.is_dir() and not (folder / "migration.toml").exists():
            raise InputError(f"{name}: is no folder of a run", "to list the runs: llamaduo-tui runs")
        return runs.find(folder.parent, folder.name)
    every = runs.all_runs(root)
    begin = [run for run in every if run.name.startswith(name)]
    if any(run.name == name for run in every) or not begin or not name:
        return runs.find(root, name)
    if len(begin) > 1:
        raise InputError(f"{name!r} matches several runs: {', '.join(sorted(run.name for run in begin)[:8])}")
    return begin[0]


def find_round(root: Path, name: str) -> tuple[Run, int | None]:
    """The run and the round in RUN@N, None for no round. Raises InputError."""
    before, at, number = name.rpartition("@")
    return (find(root, before), int(number)) if at and number.isdecimal() else (find(root, name), None)


def row(run: Run) -> dict[str, Any]:
    """A run's status as a JSON object; where its files cannot be read, the state is `unreadable`, `problem` why."""
    status, state, decisions, problem = _read(run)
    return {
        "run": run.name,
        "state": state,
        "round": status.round,
        "stage": status.stage,
        "waits_for": status.question.kind if status.question else None,
        "question": records.to_row(status.question) if status.question else None,
        "rounds": [records.to_row(decision) for decision in decisions],
        "calls": status.calls,
        "cached_calls": status.cached_calls,
        "tokens": status.tokens,
        "cost_usd": status.cost_usd,
        "interrupted_calls": status.interrupted_calls,
        "interrupted_usd": status.interrupted_usd,
        "outlook": records.to_row(status.outlook) if status.outlook and state.working else None,
        "silent_since": status.silent_since if state.working else None,
        "stopping": records.to_row(status.stopping) if status.stopping and state is State.STOPPING else None,
        "pid": status.process.pid if status.process else None,
        "heartbeat": status.heartbeat or None,
        "format": run.format if problem is None else None,
        "problem": problem.message if problem is not None else None,
        "failure": failure.error if state is State.FAILED and (failure := last_failure(run.events_file)) else None,
        "owner": owner(run) or None,
        "folder": str(run.folder),
        "report": str(run.report_file) if _is_readable(run.report_file) else None,
    }


def table(runs: list[Run]) -> list[str]:
    """All runs, one a line, newest first."""
    lines = [("RUN", "STATE", "AT", "PRECISION", "SIMILARITY", "COST", "AGE", "LEFT")]
    for run in runs:
        status, state, decisions, _ = _read(run)
        best = best_decision(decisions)
        scores = [f"{value.mean:.1f}" for value in (best.precision, best.similarity)] if best else ["-", "-"]
        place, cost = _place(status), phrases.money(status.paid_usd)
        if state is State.RUNNING and phrases.unanswered(status.silent_since, time.time()):
            place += ", waits for the service"
        name = f"{run.name} ({owner(run)})" if owner(run) else run.name
        ahead = status.outlook if state.working else None
        left = phrases.brief(ahead.left_s.expected) if ahead is not None and not ahead.unknown else "-"
        lines.append(
            (one_line(name, 60), _described(status, state), place, scores[0], scores[1], cost, _age(run), left)
        )
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(padded, line, widths)).rstrip() for line in lines]


def details(run: Run) -> list[str]:
    """One run for a person."""
    status, state, decisions, problem = _read(run)
    if problem is not None:
        reason = [f"  {one_line(problem.message)}", f"  {one_line(problem.hint)}"]
        folder = f"  folder {visible(str(run.folder))}"
        return [f"{one_line(run.name, 100)}: {state}", *filter(str.strip, reason), folder]
    lines = [f"{one_line(run.name, 100)}: {_described(status, state)}, {_place(status)}"]
    if state is State.STOPPING and status.stopping is not None:
        lines.append(f"  stopping: {status.stopping.said(status.heartbeat)}; they are paid for")
        lines.append(f"  to stop without them: llamaduo-tui stop {called(run)} --now")
    for decision in decisions:
        means = f"precision {decision.precision.mean:.1f}, similarity {decision.similarity.mean:.1f}"
        lines.append(f"  round {decision.round}: {means}. {one_line(decision.reason)}")
    usage = f"{phrases.count(status.calls, 'call')}, {status.cached_calls:,} cached, {status.tokens:,} tokens"
    spent = phrases.spent(status.paid_usd, status.interrupted_calls, status.interrupted_usd)
    lines.append(f"  service: {usage}, {spent}")
    if status.outlook is not None and state.working:
        at_work = state is State.RUNNING
        left = status.outlook.time_at(time.time() if at_work else status.outlook.at)
        lines.append(f"  left: {left}{_finish(status.outlook) if at_work else ''}")
        lines.append(f"  whole run: {status.outlook.money}")
    if status.dropped is not None:
        lines.append(f"  {status.dropped}")
    if state is State.RUNNING and (waits := phrases.unanswered(status.silent_since, time.time())):
        lines.append(f"  {waits}")
    if theirs := owner(run):
        lines.append(f"  a run of {one_line(theirs, 60)}" + ("" if may_change(run) else ", to read only"))
    lines.append(f"  pid {status.process.pid if status.process else '-'}, folder {visible(str(run.folder))}")
    if run.format < FORMAT:
        lines.append(f"  written by an older version, in format {run.format}")
    lines += [f"  report: {visible(str(run.report_file))}"] if _is_readable(run.report_file) else []
    if state is State.WAITING and status.question is not None:
        if status.question.kind != ROUND:  # the decision above tells why another round is asked about
            lines.append(f"  it asks: {one_line(status.question.reason, 600)}")
        lines.append(f"  it waits: {wording(status.question.kind).command(run, status.question)}")
    elif state is State.FAILED and (failure := last_failure(run.events_file)) is not None:
        lines.append(f"  failed: {one_line(failure.error, 600)}")
        lines += [f"  hint: {one_line(failure.hint, 600)}"] if failure.hint else []
        lines.append(f"  then: llamaduo-tui resume {called(run)}")
    elif state is State.STOPPED:
        lines.append(f"  to go on: llamaduo-tui resume {called(run)}")
    elif state is State.CRASHED:
        lines.append(f"  {phrases.gone(status)}: llamaduo-tui resume {called(run)}")
        if works_on(run, status.child):
            orphan = status.child.pid if status.child else "-"
            lines.append(
                f"  its {status.stage or 'stage'} is still there (pid {orphan}): resume ends it, as does delete"
            )
    return lines


def best_decision(decisions: list[Decision]) -> Decision | None:
    """The decision of the round that the last decision calls the best."""
    if not decisions:
        return None
    best = decisions[-1].best_round
    return next((decision for decision in decisions if decision.round == best), decisions[-1])


class _Overview(NamedTuple):
    """A run as its files tell; `problem` says why they cannot be read."""

    status: Status
    state: State
    decisions: list[Decision]
    problem: LlamaDuoError | None = None


def _read(run: Run) -> _Overview:
    try:
        status = run.status()
        return _Overview(status, run.seen(status), run.decisions())
    except PermissionError as error:
        if is_private(run):
            private = LlamaDuoError(f"{run.name} is private, and its owner is {owner(run) or 'this user'}")
            return _Overview(Status(), State.PRIVATE, [], private)
        problem: LlamaDuoError = LlamaDuoError(f"{error.filename}: cannot be read: {error.strerror}")
    except UnreadableError as error:
        problem = error
    except OSError as error:
        problem = LlamaDuoError(f"{error.filename}: cannot be read: {error.strerror}")
    return _Overview(Status(), State.UNREADABLE, [], problem)


def _is_readable(path: Path) -> bool:
    return os.access(path, os.R_OK)


def _described(status: Status, state: State) -> str:
    if state is State.WAITING and status.question is not None and status.question.kind != ROUND:
        return f"waiting for {wording(status.question.kind).waits_for}"
    return state


def _age(run: Run) -> str:
    """How long ago a run was made, as far as this user may see it."""
    with suppress(OSError):
        return phrases.age(time.time() - run.settings_file.stat().st_mtime)
    return "-"


def _place(status: Status) -> str:
    place = [f"round {status.round}" if status.round is not None else "", one_line(status.stage or "", 40)]
    return " ".join(filter(None, place)) or "-"


def _finish(outlook: Outlook) -> str:
    """When a run that is at work and need not wait for people ends, as far as that is known."""
    if outlook.unknown:
        return ""
    return f", which would end it at {time.strftime('%a %H:%M', time.localtime(outlook.at + outlook.left_s.expected))}"
