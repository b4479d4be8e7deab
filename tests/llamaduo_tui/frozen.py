"""Runs with times of their own, and an app whose clock stands still: what it shows is the same on every machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import story
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Log, Static

from engine.protocol import jsonl
from engine.protocol import run_dir as runs
from engine.protocol.events import Event, QuestionAsked, RunFailed, to_row
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State, Status
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.widgets.lines import Lines

NOW = 1_800_000_000.0
SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\nbudget_usd = 2.0\n'
WAITING = story.to_approval()
REACHED = [*WAITING, *story.to_end()]
TRAINING = [*WAITING, *story.to_end()[:10], *story.finetune(2, 120)[:90]]


def make(
    root: Path, name: str, state: str, events: list[Event], age_s: float = 300.0, worker: int | None = None
) -> Run:
    """A run in a state, its events a second apart, worked on by this process or by `worker`."""
    run = runs.create(root, name, SETTINGS)
    began = NOW - age_s
    rows = [to_row(replace(event, seq=n + 1, time=began + n)) for n, event in enumerate(events)]
    jsonl.write(run.events_file, rows)
    for row in rows:
        if row["kind"] == "round.scored":
            jsonl.write_json(run.decision_file(row["round"]), row["decision"])
    process = Process.of(os.getpid())
    process = process if worker is None else replace(process, pid=worker)
    at = {"waiting": (1, None), "running": (2, "finetune")}.get(state, (None, None))
    asked = [event.question for event in events if isinstance(event, QuestionAsked)] if state == "waiting" else [None]
    run.write_status(
        Status(
            question=asked[-1],
            state=State(state),
            process=process,
            heartbeat=NOW,
            round=at[0],
            stage=at[1],
            calls=192,
            cost_usd=0.4,
        )
    )
    run.log_file.write_text("loading weights\n\x1b[31mstep [bold]1[/nope]\n")
    os.utime(run.settings_file, (began, began))
    return run


def some(root: Path) -> dict[str, Run]:
    """A run in each state."""
    failed = [story.started(), RunFailed(error="OpenAI says the key is wrong (401)", hint="set it", exit_status=2)]
    return {
        run.name: run
        for run in (
            make(root, "summaries", "running", TRAINING, 200),
            make(root, "tickets", "waiting", WAITING, 4_000),
            make(root, "naïve-日本語", "reached", REACHED, 90_000),
            make(root, "wrong-key", "failed", failed, 200_000),
            make(root, "gone", "running", TRAINING, 400_000, worker=2**22 - 1),
        )
    }


def files(run: Run) -> dict[str, tuple[bytes, int]]:
    """Every file of a run, and every folder, by its name: its bytes and when it was last changed."""
    return {
        str(path.relative_to(run.folder)): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in [run.folder, *run.folder.rglob("*")]
    }


def app(root: Path, at: Run | None = None) -> LlamaDuoApp:
    return LlamaDuoApp(root, at, clock=lambda: NOW)


async def until(pilot: Pilot[Any], what: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let the app go on until it is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        await pilot.pause()


def text_of(screen: Screen[Any], selector: str) -> str:
    """The text of a widget."""
    widget = screen.query_one(selector)
    if isinstance(widget, Lines):
        return "\n".join(line.plain.rstrip() for line in widget.lines)
    assert isinstance(widget, Static)
    return str(widget.content)


def screen(shown: LlamaDuoApp) -> RunScreen:
    found = shown.screen
    assert isinstance(found, RunScreen)
    return found


def replayed(shown: LlamaDuoApp) -> bool:
    return isinstance(shown.screen, RunScreen) and any(log.lines for log in shown.screen.query(Log))
