"""Every screen, resized under its reader: what takes keys stays within reach, and nothing is squeezed out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import data_run
import frozen
import pytest
import review_run
from frozen import app, make, some, until
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Log, OptionList

from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.browsing import BrowsingScreen
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.screens.confirm import ConfirmScreen
from llamaduo_tui.screens.data import DataScreen
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.widgets.cards.round_card import RoundCard
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.pair_list import PairList
from llamaduo_tui.widgets.prompt_list import PromptList

SIZES = [(120, 40), (200, 60), (80, 24), (120, 24), (80, 60)]
Go = Callable[[Pilot[None]], Awaitable[None]]


pytestmark = pytest.mark.usefixtures("still_machine")


async def runs(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: pilot.app.query_one(OptionList).option_count > 0)


async def opened(pilot: Pilot[None], name: str) -> None:
    await runs(pilot)
    listed = pilot.app.query_one(OptionList)
    while name not in str(listed.get_option_at_index(listed.highlighted or 0).prompt):
        await pilot.press("down")
    await pilot.press("enter")
    await until(pilot, lambda: bool(pilot.app.screen.query(Log)) and bool(pilot.app.screen.query_one(Log).lines))


async def training(pilot: Pilot[None]) -> None:
    await opened(pilot, "summaries")


async def deciding(pilot: Pilot[None]) -> None:
    await opened(pilot, "tickets")
    await until(pilot, lambda: pilot.app.screen.query_one(RoundCard).display)


async def ended(pilot: Pilot[None]) -> None:
    await opened(pilot, "naïve")


async def reviewing(pilot: Pilot[None]) -> None:
    await opened(pilot, "tickets")
    await pilot.press("v")
    await until(pilot, lambda: isinstance(pilot.app.screen, ReviewScreen))
    await until(pilot, lambda: bool(pilot.app.screen.query_one(PromptList).items))


async def reading_data(pilot: Pilot[None]) -> None:
    await opened(pilot, "tickets")
    await pilot.press("d")
    await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
    await until(pilot, lambda: bool(pilot.app.screen.query_one(PairList).items))


async def configuring(pilot: Pilot[None]) -> None:
    await runs(pilot)
    await pilot.press("n")
    await until(pilot, lambda: isinstance(pilot.app.screen, ConfigureScreen))
    await pilot.press("enter")


async def confirming(pilot: Pilot[None]) -> None:
    await opened(pilot, "summaries")
    await pilot.press("x")
    await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))


def out_of_reach(screen: Screen[object]) -> list[Widget]:
    """What can have the focus but has no room on the screen, and that no scrolling brings into sight."""
    return [
        widget
        for widget in screen.focus_chain
        if not any(parent.max_scroll_y for parent in widget.ancestors if isinstance(parent, Widget))
        and (widget.region.area == 0 or not screen.region.contains_region(widget.region))
    ]


@pytest.mark.parametrize("go", [runs, training, deciding, ended, reviewing, reading_data, configuring, confirming])
async def test_resized_live(go: Go, root: Path) -> None:
    data_run.synthesis(data_run.coverage(review_run.rounds(some(root)["tickets"])), 1)
    shown = app(root)
    async with shown.run_test(size=(80, 24)) as pilot:
        await go(pilot)
        for width, height in [(80, 24), *SIZES]:
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            screen = shown.screen
            assert (screen.size.width, screen.size.height) == (width, height)
            assert not out_of_reach(screen), (width, height)
            assert shown.focused is not None
            await until(pilot, lambda: in_sight(shown))
            for footer in screen.query(KeyBar):
                assert (footer.region.bottom, footer.region.width) == (height, width)
            assert crowded(screen) == []


@pytest.mark.parametrize(("go", "key"), [(reviewing, ""), (reviewing, "n"), (reading_data, "")])
async def test_a_question_leaves_a_small_terminal_to_the_response(go: Go, key: str, root: Path) -> None:
    data_run.synthesis(data_run.coverage(review_run.rounds(some(root)["tickets"])), 1)
    shown = app(root)
    async with shown.run_test(size=(60, 20)) as pilot:
        await go(pilot)
        screen = shown.screen
        assert isinstance(screen, BrowsingScreen)
        await until(pilot, lambda: not screen.page_view.reading)
        await pilot.press(*key)
        side = screen.query("#comparison > #response, #pair-responses > #response").only_one()
        await until(pilot, lambda: screen.find_widget(side).visible_region.height >= 2)
        assert shown.screen.query_one(RoundCard).region.height == (0 if key else 3)


def in_sight(shown: LlamaDuoApp) -> bool:
    """Whether something of the widget with the focus is drawn."""
    focused = shown.focused
    return focused is not None and shown.screen.find_widget(focused).visible_region.area > 0


def crowded(screen: Screen[object]) -> list[Widget]:
    """Scrolling parts of a screen too small to read anything in."""
    return [
        widget
        for widget in screen.query("Log, OptionList, PromptList, PairList, #form, #detail, #pair")
        if widget.is_on_screen and (widget.region.height < 3 or widget.region.width < 12)
    ]


async def test_the_end_of_the_log_stays_in_sight(root: Path) -> None:
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test(size=(200, 60)) as pilot:
        await until(pilot, lambda: bool(shown.screen.query(Log)) and bool(shown.screen.query_one(Log).lines))
        for width, height in SIZES:
            await pilot.resize_terminal(width, height)
            log = shown.screen.query_one(Log)
            await until(pilot, lambda log=log: log.is_vertical_scroll_end)
