"""Runs side by side: a part at a time, or all parts on a wide terminal; rounds of one run likewise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import frozen
import pytest
import review_run
import story
from frozen import app, make, text_of, until
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import OptionList

from engine.protocol.events import RoundScored
from engine.protocol.run_dir import Run
from llamaduo_tui.screens.compare import CompareScreen
from llamaduo_tui.widgets.compared_answers import ComparedAnswers
from llamaduo_tui.widgets.comparison import Comparison, Side
from llamaduo_tui.widgets.plots import Plots

Snap = Callable[..., bool]


SETTINGS = '[coverage]\nsource = "/data/tickets.jsonl"\n[service]\nmodel = "sandbox"\n'


@pytest.fixture
def runs(root: Path) -> list[Run]:
    """Two runs with the same dev prompts; the second has a larger adapter, and answers better."""
    better = story.decision(1, 71.2, 60.4)
    events = [
        replace(event, decision=better) if isinstance(event, RoundScored) and event.round == 1 else event
        for event in frozen.WAITING
    ]
    one, two = (
        review_run.rounds(make(root, name, "waiting", told))
        for name, told in (("one", frozen.WAITING), ("two", events))
    )
    one.settings_file.write_text(SETTINGS)
    two.settings_file.write_text(f"{SETTINGS}[local.adapter]\nr = 64\n")
    shutil.copytree(two.round(0) / "judge", two.round(1) / "judge", dirs_exist_ok=True)
    answers = two.round(1) / "infer" / "responses.jsonl"
    answers.write_text(answers.read_text().replace("TimeForge", "DeskPilot"))
    return [one, two]


def on_screen(screen: CompareScreen) -> set[str]:
    parts = {"scores": "#overview", "losses": "Plots", "answers": "ComparedAnswers"}
    return {name for name, selector in parts.items() if screen.query_one(selector).is_on_screen}


async def read(pilot: Pilot[None]) -> CompareScreen:
    """Until the runs are read and the answers to the first prompt are shown."""
    screen = pilot.app.screen
    assert isinstance(screen, CompareScreen)
    await until(pilot, lambda: screen.query_one(OptionList).option_count > 1)
    await until(pilot, lambda: bool(screen.query_one("#response", Side).border_title))
    return screen


async def test_a_part_at_a_time_and_on_a_wide_terminal_all_of_them(runs: list[Run], root: Path) -> None:
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await shown.push_screen(CompareScreen(runs))
        screen = await read(pilot)
        assert on_screen(screen) == {"scores"}
        assert "local.adapter.r" in text_of(screen, "#compare-text")
        for key, part, focused in (("2", "losses", Plots), ("3", "answers", OptionList), ("2", "losses", Plots)):
            await pilot.press(key)
            await until(pilot, lambda part=part: on_screen(screen) == {part})
            await until(pilot, lambda focused=focused: isinstance(shown.focused, focused))
        await pilot.press("m")
        await until(pilot, lambda: screen.maximized is not None)
        await pilot.press("escape")
        await until(pilot, lambda: screen.maximized is None)
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: on_screen(screen) == {"scores", "losses", "answers"})
        sides = screen.query_one("#reference", Side), screen.query_one("#response", Side)
        await until(pilot, lambda: sides[1].region.x >= sides[0].region.right)
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: len(on_screen(screen)) == 1)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(shown.screen, CompareScreen))


async def test_rounds_of_a_run_are_compared_with_what_differs(runs: list[Run], root: Path) -> None:
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: shown.screen.query_one(OptionList).option_count > 0)
        await pilot.press("equals_sign")
        await until(pilot, lambda: isinstance(shown.screen, CompareScreen))
        screen = await read(pilot)
        assert "2 rounds" in text_of(screen, "#compare-title")
        assert "@1" in text_of(screen, "#compare-text") and "@0" in text_of(screen, "#compare-text")
        assert len(screen.query_one(ComparedAnswers).query_one(Comparison).query(Side)) == 2


def test_looks_wide(runs: list[Run], root: Path, snap_compare: Snap) -> None:
    async def opened(pilot: Pilot[None]) -> None:
        await pilot.app.push_screen(CompareScreen(runs))
        screen = await read(pilot)
        await until(pilot, lambda: screen.query_one(Plots).has_class("-drawn"))
        await pilot.pause()

    assert snap_compare(app(root), terminal_size=(200, 60), run_before=opened)
