"""The charts of the run screen: keys that arrive at once, the mouse, the whole screen and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import frozen
import pytest
import story
from frozen import app, make, replayed, screen, until
from msgspec.structs import replace
from textual.events import MouseScrollUp
from textual.pilot import Pilot
from textual.widgets import Log
from typing_fast import NAMES, burst

from engine.protocol import jsonl, records
from engine.protocol.events import to_row
from engine.protocol.machine import Gpu, Machine, MachineRow
from engine.protocol.run_dir import Run
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.views import machine
from llamaduo_tui.widgets.charts import Charts
from llamaduo_tui.widgets.plots import Plots

pytestmark = pytest.mark.usefixtures("still_machine")

GIB = 2**30
Snap = Callable[..., bool]


def charts(shown: LlamaDuoApp) -> Charts:
    return screen(shown).query_one(Charts)


def text(plots: Plots) -> str:
    return "\n".join(line.plain for line in plots._lines)


def ready(shown: LlamaDuoApp) -> bool:
    return replayed(shown) and charts(shown).has_class("-drawn")


def record(run: Run, rows: int = 30) -> None:
    gpu = Gpu(97.0, 31 * GIB, 80 * GIB, "2", 350.0, 66.0)
    row = [MachineRow(time=frozen.NOW - 300 + 10 * n, seconds=10.0, machine=_load(n, gpu)) for n in range(rows)]
    jsonl.append(run.machine_file, map(records.to_row, row))


def _load(n: int, gpu: Gpu) -> Machine:
    return Machine(20.0 + 2 * n, 8 * GIB, 24 * GIB, (gpu,))


async def test_keys_at_once_end_where_a_slow_typist_ends(root: Path) -> None:
    run = make(root, "busy", "reached", frozen.REACHED)
    keys = ["C", *["left"] * 20, "pageup", "L", "plus", "down", "down", "up", "]", "down", "]", "]", "e", "e", "right"]
    ends = []
    for at_once in (True, False):
        shown = app(root, run)
        async with shown.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: ready(shown))  # noqa: B023
            typed = [NAMES.get(key, key) for key in keys]
            await (burst(pilot, *typed) if at_once else pilot.press(*typed))
            await pilot.pause()
            grid = charts(shown).grid
            ends.append((grid.at, grid.window, grid.log, grid.chosen, charts(shown).page, screen(shown).maximized))
            assert "step 89  round 2 0.2144" in text(charts(shown))
    assert str(ends[0]) == str(ends[1]) and ends[0][0] is not None and ends[0][2] == {"loss"}


async def test_the_whole_screen_and_back(root: Path) -> None:
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test(size=(60, 20)) as pilot:
        await until(pilot, lambda: replayed(shown))
        assert not charts(shown).display
        await pilot.press("C")
        await until(pilot, lambda: charts(shown).region.size == (60, 19) and shown.focused is charts(shown))
        await until(pilot, lambda: "round 1" in text(charts(shown)))
        assert all(len(line) <= 58 for line in text(charts(shown)).splitlines())
        await pilot.press("escape")
        await until(pilot, lambda: screen(shown).maximized is None)
        assert isinstance(shown.screen, RunScreen)
        await pilot.press("m")
        await until(pilot, lambda: screen(shown).maximized is charts(shown))
        await pilot.press("C")
        await until(pilot, lambda: screen(shown).maximized is None)


async def test_an_ended_run_shows_its_machine_and_a_running_one_goes_on(root: Path) -> None:
    run = make(root, "done", "reached", frozen.REACHED)
    record(run)
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: ready(shown))
        await pilot.press("C", "right_square_bracket", "right_square_bracket")
        await until(pilot, lambda: "after 4 min, newest  GPU 2 97  CPU 78" in text(charts(shown)))
        await pilot.press("enter")
        await until(pilot, lambda: "watts" not in text(charts(shown)))
        await pilot.press("up", "up")
        await until(pilot, lambda: "power watts" in text(charts(shown)) and "350" in text(charts(shown)))
        assert "↑↓ chart 4 of 5" in str(charts(shown).border_subtitle)
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: "┄ target 85" in text(charts(shown)))
        charts(shown).show_machine((MachineRow(time=frozen.NOW, seconds=10.0, machine=Machine(5.0, 1, 2)),))
        await pilot.press("right_square_bracket", "enter")
        await until(pilot, lambda: "after 5 min, newest  CPU 5" in text(charts(shown)))


async def test_the_mouse_reads_chooses_pages_and_zooms(root: Path) -> None:
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: ready(shown))
        await pilot.press("C")
        await until(pilot, lambda: charts(shown).region.width == 120)
        await pilot.click(Charts, offset=(118, 5))
        assert charts(shown).grid.at == 119.0, "the middle of the last column, in which 119 and 120 are"
        await pilot._post_mouse_events([MouseScrollUp], widget=Charts, offset=(30, 30))
        await until(pilot, lambda: charts(shown).grid.window == (60.5, 120.0))
        await pilot.click(Charts, offset=(20, 0))
        await until(pilot, lambda: charts(shown).page == "scores")
        await pilot.click(Charts, offset=(30, 30))
        assert (charts(shown).grid.chosen, charts(shown).grid.at) == (1, 0.0)


async def test_values_are_saved(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: ready(shown))
        await pilot.press("C", "w")
        await until(pilot, lambda: (tmp_path / "done-loss.csv").exists())
        head, first = (tmp_path / "done-loss.csv").read_text().splitlines()[:2]
        assert head == "step,round 1 dev,round 1,round 2 dev,round 2" and first.startswith("1,,")
        await pilot.press("left_square_bracket", "w")
        await until(pilot, lambda: any("nothing to save" in note.message for note in shown._notifications))


async def test_only_lines_that_changed_are_drawn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: ready(shown))
        await pilot.press("C", "left")
        await until(pilot, lambda: charts(shown).region.width == 120)
        await pilot.pause()
        drawn: list[int] = []
        monkeypatch.setattr(charts(shown), "refresh", lambda *regions, **_: drawn.append(len(regions)))
        charts(shown).draw()
        assert not any(drawn)
        await pilot.press("e")
        assert 0 < max(drawn) < 38
        screen(shown).query_one(Log).focus()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_looks(size: tuple[int, int], root: Path, snap_compare: Snap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "sample", lambda: Machine(42.0, 8 * GIB, 24 * GIB))
    run = make(root, "done", "reached", frozen.REACHED)
    record(run)

    async def looked_at(pilot: Pilot[None]) -> None:
        shown = pilot.app
        assert isinstance(shown, LlamaDuoApp)
        await until(pilot, lambda: ready(shown) if size[0] >= 100 else replayed(shown))
        await pilot.press("C", *(["left_square_bracket"] if size[0] < 100 else []), *["left"] * 9)
        await until(pilot, lambda: ", newest" not in text(charts(shown)) and len(text(charts(shown))) > 300)
        await pilot.pause()

    assert snap_compare(app(root, run), terminal_size=size, run_before=looked_at)


async def test_until_there_is_training_the_machine_is_shown_and_a_page_that_was_chosen_stays(root: Path) -> None:
    run = make(root, "fresh", "running", frozen.WAITING[:3])
    record(run)
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: bool(shown.screen.query(Charts)) and charts(shown).page == "machine")
        told = [to_row(replace(event, seq=99 + at, time=frozen.NOW)) for at, event in enumerate(story.finetune(1))]
        jsonl.append(run.events_file, told)
        await until(pilot, lambda: charts(shown).page == "training")
        charts(shown).action_page("machine")
        jsonl.append(run.events_file, [to_row(replace(story.usage(7), seq=999, time=frozen.NOW))])
        await until(pilot, lambda: screen(shown).view.usage is not None)
        assert charts(shown).page == "machine"
