"""Runs at a glance: a table of all, the status of one, for people and for scripts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from engine.protocol import run_dir as runs
from engine.protocol.errors import DamagedError, InputError
from engine.protocol.run_dir import Run, Status
from llamaduo_tui.views import phrases
from llamaduo_tui.views.text import one_line


def find(root: Path, name: str) -> Run:
    """The run of this name or folder, or the only one whose name begins with it.

    Raises InputError where there is none, or more than one.
    """
    if "/" in name:
        folder = Path(name).expanduser().absolute()
        return runs.find(folder.parent, folder.name)
    every = runs.all_runs(root)
    begin = [run for run in every if run.name.startswith(name)]
    if any(run.name == name for run in every) or not begin or not name:
        return runs.find(root, name)
    if len(begin) > 1:
        raise InputError(f"{name!r} begins several runs: {', '.join(sorted(run.name for run in begin)[:8])}")
    return begin[0]


def row(run: Run) -> dict[str, Any]:
    """A run's status as a JSON object; the state is `unreadable` where its files are broken or not ours to read."""
    try:
        status, decisions = run.status(), run.decisions()
        state = status.seen(time.time())
    except (OSError, DamagedError):
        status, decisions, state = Status(), [], "unreadable"
    return {
        "run": run.name,
        "state": state,
        "round": status.round,
        "stage": status.stage,
        "waits_for": status.waits_for or None,
        "rounds": decisions,
        "calls": status.calls,
        "cached_calls": status.cached_calls,
        "tokens": status.tokens,
        "cost_usd": status.cost_usd,
        "silent_since": status.silent_since if status.working else None,
        "pid": status.process.pid if status.process else None,
        "heartbeat": status.heartbeat or None,
        "folder": str(run.folder),
        "report": str(run.report_file) if run.report_file.exists() else None,
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """All runs, one a line, newest first."""
    cells = [("RUN", "STATE", "AT", "PRECISION", "SIMILARITY", "COST")]
    for status in rows:
        best = best_decision(status["rounds"])
        scores = [f"{best[key]['mean']:.1f}" if best else "-" for key in ("precision", "similarity")]
        cost = phrases.money(status["cost_usd"])
        cells.append((one_line(status["run"], 60), _state(status), _place(status), scores[0], scores[1], cost))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def details(status: dict[str, Any]) -> list[str]:
    """One run for a person."""
    lines = [f"{one_line(status['run'], 100)}: {_state(status)}, {_place(status)}"]
    for decision in status["rounds"]:
        p, s = decision["precision"]["mean"], decision["similarity"]["mean"]
        lines.append(
            f"  round {decision['round']}: precision {p:.1f}, similarity {s:.1f}. {one_line(decision['reason'])}"
        )
    calls, cached = status["calls"], status["cached_calls"]
    cost = phrases.money(status["cost_usd"])
    lines.append(f"  service: {calls:,} calls, {cached:,} cached, {status['tokens']:,} tokens, {cost}")
    if status["silent_since"] is not None:
        since = time.strftime("%H:%M:%S", time.localtime(status["silent_since"]))
        lines.append(f"  the service has not answered since {since}: the run waits for it, its log says more")
    lines.append(f"  pid {status['pid'] or '-'}, folder {status['folder']}")
    lines += [f"  report: {status['report']}"] if status["report"] else []
    waits = {
        "waiting": f"  it waits: llamaduo-tui approve {status['run']}  (or: reject, stop)",
        "waiting for a look": f"  it waits: llamaduo-tui approve {status['run']}  (the new pairs: attach, then d)",
        "waiting for budget": f"  it waits: llamaduo-tui approve {status['run']} --budget USD  (or: stop)",
        "crashed": f"  its worker is gone: llamaduo-tui resume {status['run']}",
    }
    return [*lines, *filter(None, [waits.get(_state(status))])]


def best_decision(decisions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The decision of the round that the last decision calls the best."""
    if not decisions:
        return None
    best = decisions[-1].get("best_round")
    return next((decision for decision in decisions if decision.get("round") == best), decisions[-1])


def _state(status: dict[str, Any]) -> str:
    if status["state"] == "waiting" and status["waits_for"] in ("budget", "look"):
        return f"waiting for {'a look' if status['waits_for'] == 'look' else 'budget'}"
    return str(status["state"])


def _place(status: dict[str, Any]) -> str:
    said = [f"round {status['round']}" if status["round"] is not None else "", status["stage"] or ""]
    return " ".join(filter(None, said)) or "-"
