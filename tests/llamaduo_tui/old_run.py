"""A run's folder as version 0.1 wrote it, in format 1: by hand, without the code that reads and writes runs today."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import psutil

from engine.protocol.run_dir import Run

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "gpt-4o"\n'
REASON = "Precision 64.3 is short of the target of 85."


def waiting(root: Path) -> Run:
    """Waits for approval of another round, with this process as its worker."""
    run = _run(root, "waiting", _events()[:3])
    worker = {"pid": os.getpid(), "started": psutil.Process().create_time(), "host": socket.gethostname()}
    _status(run, "waiting", waits_for="approval", process=worker, heartbeat=2_000_000_000.0)
    return run


def stopped(root: Path) -> Run:
    """Stopped by hand."""
    by_hand = {"state": "stopped", "reason": "Stopped by hand; resume goes on from here.", "report": None}
    run = _run(root, "stopped", [*_events()[:3], ("run.finished", {**by_hand, "best_round": None, "sealed": None})])
    _status(run, "stopped")
    return run


def missed(root: Path) -> Run:
    """Ended without reaching its target, which format 1 called stopped, too."""
    run = _run(root, "missed", _events())
    _write(run.final / "report.md", "# missed: target not reached\n")
    manifest = {"stage": "report", "inputs": {}, "settings": "s", "seed": 1, "counts": {}, "seconds": 0.1}
    _write(run.final / "manifest.json", json.dumps({**manifest, "versions": {"torch": "2.3"}, "finished": 3.0}))
    _status(run, "stopped")
    return run


def _events() -> list[tuple[str, dict[str, Any]]]:
    begun = {"name": "old", "pid": 7, "resumed": False, "sandbox": False, "model": "tiny", "service": "gpt-4o"}
    asked = {"reason": REASON, "pairs": 120, "cost_usd": 0.42, "seconds": 190.0}
    sealed = {key: value for key, value in _decision().items() if key not in ("round", "reached", "outcome", "reason")}
    ended = {"state": "stopped", "reason": "No gain for 2 rounds.", "best_round": 1, "sealed": sealed}
    return [
        ("run.started", {**begun, "max_rounds": 4}),
        ("round.scored", {"round": 1, "stage": "decide", "decision": _decision()}),
        ("approval.requested", {"round": 1, **asked}),
        ("approval.given", {"round": 1, "approved": True, "pairs": 120, "command": "c1"}),
        ("approval.requested", {"round": 1, "stage": "synthesize", **asked}),
        ("approval.given", {"round": 1, "stage": "synthesize", "approved": True, "pairs": 99, "command": "c2"}),
        ("budget.used_up", {"reason": "$2 are spent", "hint": "raise it", "cap": "usd", "used": 2.0, "least": 2.5}),
        ("budget.changed", {"usd": 9.0, "calls": None}),
        ("run.finished", {**ended, "report": "final/report.md"}),
    ]


def _decision() -> dict[str, Any]:
    interval = {"mean": 64.3, "low": 59.3, "high": 69.3}
    shares = {"precision": 0.6, "similarity": 0.5}
    change = {"id": "a1", "before": 90.0, "after": 45.0}
    moved = {"against": 0, "precision": interval, "similarity": interval, "improved": [], "regressed": [change]}
    return {
        "round": 1,
        "reached": False,
        "outcome": "continue",
        "reason": REASON,
        "precision": interval,
        "similarity": interval,
        "coverage_50": shares,
        "coverage_70": shares,
        "prompts": 24,
        "verdicts": 96,
        "errors": 0,
        "unjudged": 0,
        "teacher": None,
        "changes": {**moved, "prompts": 24},
        "changes_to_last": None,
        "advice": {"action": "finish", "reason": "It has stopped gaining."},
        "best_round": 1,
        "next": {"pairs": 120, "cost_usd": 0.42, "seconds": 190.0},
        "more_prompts": None,
        "reviews": None,
        "flagged": [],
        "groups": [{"name": "billing", "prompts": 9, "precision": 44.0, "similarity": 41.0}],
    }


def _run(root: Path, name: str, events: list[tuple[str, dict[str, Any]]]) -> Run:
    run = Run(root / name)
    _write(run.settings_file, SETTINGS)
    rows = [
        {"seq": number, "time": 1000.0 + number, "kind": kind, "round": None, "stage": None, **fields}
        for number, (kind, fields) in enumerate(events, start=1)
    ]
    _write(run.events_file, "".join(f"{json.dumps(row)}\n" for row in rows))
    _write(run.decision_file(1), json.dumps(_decision(), indent=1))
    command = {"kind": "approve", "round": 1, "pairs": 120, "worker": None, "id": "c1", "time": 1003.0}
    _write(run.commands_file, f"{json.dumps(command)}\n")
    return run


def _status(run: Run, state: str, **fields: object) -> None:
    row = {"state": state, "process": None, "child": None, "heartbeat": 1000.0, "round": 1, "stage": None}
    spent = {"calls": 192, "cached_calls": 0, "tokens": 9000, "cost_usd": 0.4, "worked_s": 60.0, "silent_since": None}
    _write(run.status_file, json.dumps({**row, "waits_for": "", **spent, **fields}, indent=1))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
