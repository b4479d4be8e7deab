"""How the screens look, on small and large terminals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import review_run
from frozen import app, some, until
from textual.pilot import Pilot
from textual.widgets import Log, OptionList

from engine.protocol.machine import Gpu, Machine
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.views import machine
from llamaduo_tui.widgets.charts import Charts

SIZES = [(80, 24), (120, 40)]
Snap = Callable[..., bool]


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    gpus = (Gpu(97.0, 31 * 1024**3, 80 * 1024**3),)
    monkeypatch.setattr(machine, "sample", lambda: Machine(42.0, 8 * 1024**3, 24 * 1024**3, gpus))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def listed(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: pilot.app.query_one(OptionList).option_count > 0 or pilot.app.screen.has_class("-empty"))


async def drawn(pilot: Pilot[None]) -> None:
    """Until the run is replayed, its charts are drawn and its machine was looked at."""

    def done() -> bool:
        screen = pilot.app.screen
        if not isinstance(screen, RunScreen) or not any(log.lines for log in screen.query(Log)):  # being composed
            return False
        charts = screen.query_one(Charts)
        return charts.has_class("-drawn") or not screen.view.sections or not charts.display

    await until(pilot, done)
    await until(pilot, lambda: not any(w.group == "default" and w.is_running for w in pilot.app.workers))
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
def test_runs(size: tuple[int, int], root: Path, snap_compare: Snap) -> None:
    some(root)
    assert snap_compare(app(root), terminal_size=size, run_before=listed)


def test_no_runs(root: Path, snap_compare: Snap) -> None:
    assert snap_compare(app(root), terminal_size=(80, 24), run_before=listed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["summaries", "tickets", "naïve-日本語"])
def test_run(name: str, size: tuple[int, int], root: Path, snap_compare: Snap) -> None:
    assert snap_compare(app(root, some(root)[name]), terminal_size=size, run_before=drawn)


@pytest.mark.parametrize("size", SIZES)
def test_runs_without_colour(
    size: tuple[int, int], root: Path, snap_compare: Snap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    some(root)
    assert snap_compare(app(root), terminal_size=size, run_before=listed)


@pytest.mark.parametrize("size", SIZES)
def test_run_without_colour(
    size: tuple[int, int], root: Path, snap_compare: Snap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(app(root, some(root)["tickets"]), terminal_size=size, run_before=drawn)


async def answered(pilot: Pilot[None]) -> None:
    """Until the run is replayed and its worst answers are there."""
    await drawn(pilot)
    await until(pilot, lambda: pilot.app.screen.has_class("-answered"))
    await drawn(pilot)


def test_run_wide(root: Path, snap_compare: Snap) -> None:
    run = review_run.rounds(some(root)["tickets"])
    assert snap_compare(app(root, run), terminal_size=(200, 60), run_before=answered)


def test_run_small(root: Path, snap_compare: Snap) -> None:
    run = review_run.rounds(some(root)["tickets"])
    assert snap_compare(app(root, run), terminal_size=(60, 20), run_before=answered)


@pytest.mark.parametrize("theme", ["paper", "contrast", "okabe", "sixteen"])
def test_theme(theme: str, root: Path, snap_compare: Snap) -> None:
    shown = app(root, some(root)["tickets"])
    shown.theme = theme
    assert snap_compare(shown, terminal_size=(120, 40), run_before=drawn)
