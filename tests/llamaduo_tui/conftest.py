"""Runs, terminals and workers for these tests, away from the user's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.protocol import run_dir as runs
from engine.protocol.events import Event, EventLog
from engine.protocol.machine import Machine
from engine.protocol.run_dir import Run
from llamaduo_tui.views import machine

sys.path.insert(0, str(Path(__file__).parent))

from terminals import FAKE_WORKER

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAMADUO_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def make_run(root: Path) -> Callable[..., Run]:
    def make(events: list[Event] | None = None, name: str = "demo") -> Run:
        run = runs.create(root, name, SETTINGS)
        log = EventLog(run.events_file)
        for event in events or []:
            log.append(event)
        return run

    return make


@pytest.fixture
def still_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose load stays the same."""
    monkeypatch.setattr(machine, "sample", lambda: Machine(42.0, 8 * 1024**3, 24 * 1024**3))


@pytest.fixture
def fake_worker() -> Iterator[Callable[[Run], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(run: Run) -> subprocess.Popen[bytes]:
        worker = subprocess.Popen([sys.executable, str(FAKE_WORKER), str(run.folder)], start_new_session=True)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait()
