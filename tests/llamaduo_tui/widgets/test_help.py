"""The help beside every screen, and the palette."""

from __future__ import annotations

from pathlib import Path

import data_run
import frozen
import pytest
import review_run
from frozen import app, make, replayed, screen, until
from textual.widgets import Markdown, OptionList

from engine.protocol import commands
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.widgets.help import HelpKeys

pytestmark = pytest.mark.usefixtures("still_machine")


async def test_help_tells_of_what_asks_and_then_of_what_has_the_focus(root: Path) -> None:
    shown = app(root, make(root, "short", "waiting", frozen.WAITING))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: screen(shown).asking is not None)
        await pilot.press("question_mark")
        await until(pilot, lambda: bool(shown.screen.query("#widget-help")))
        await until(pilot, lambda: "## Decision" in shown.screen.query_one("#widget-help", Markdown).source)
        assert "## Log" in shown.screen.query_one("#widget-help", Markdown).source


@pytest.mark.parametrize("key, title", [("v", "## Prompts"), ("d", "## Pairs"), ("escape", "## Runs")])
async def test_every_screen_has_help(root: Path, key: str, title: str) -> None:
    run = data_run.coverage(review_run.rounds(make(root, "done", "reached", frozen.REACHED)))
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.press(key)
        await until(pilot, lambda: not isinstance(shown.screen, RunScreen) and shown.focused is not None)
        await pilot.press("question_mark")
        await until(pilot, lambda: bool(shown.screen.query("#widget-help")))
        await until(pilot, lambda: title in shown.screen.query_one("#widget-help", Markdown).source)


async def test_a_small_terminal_shows_all_of_the_help_page_by_page(root: Path) -> None:
    for name in ("a", "b", "c"):
        make(root, name, "reached", frozen.REACHED)
    shown = app(root)
    async with shown.run_test(size=(80, 24)) as pilot:
        runs = shown.screen.query_one(OptionList)
        await until(pilot, lambda: runs.option_count == 3)
        await pilot.press("question_mark")
        await until(pilot, lambda: bool(shown.screen.query("Help VerticalScroll")))
        text = shown.screen.query_one("Help VerticalScroll")
        await until(pilot, lambda: text.max_scroll_y > 0)
        explained = shown.screen.query_one("#widget-help", Markdown)
        await until(pilot, lambda: explained.size.height > 15)
        assert explained.virtual_size.height <= explained.size.height, "one part scrolls, not a part in it"
        while text.scroll_y < text.max_scroll_y:
            before = text.scroll_y
            await pilot.press("pagedown")
            await until(pilot, lambda before=before: text.scroll_y > before)
        await pilot.press("pageup")
        await until(pilot, lambda: text.scroll_y < text.max_scroll_y)
        assert runs.highlighted == 0, "the list keeps its place"
        await pilot.press("escape", "pagedown")
        await until(pilot, lambda: runs.highlighted == 2)


async def test_the_help_begins_with_the_keys_of_this_program(root: Path) -> None:
    shown = app(root, make(root, "short", "waiting", frozen.WAITING))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: screen(shown).asking is not None)
        await pilot.press("question_mark")
        await until(pilot, lambda: bool(shown.screen.query(HelpKeys)))
        table = shown.screen.query_one(HelpKeys).render()
        said = [str(cell) for cell in table.columns[1].cells]
        assert said.index("Approve Answer yes") < said.index("") < len(said) - 1


async def test_the_palette_does_what_the_keys_do_now(root: Path) -> None:
    run = make(root, "short", "waiting", frozen.WAITING)
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(shown.screen, RunScreen) and screen(shown).asking is not None)
        found = {command.title: command for command in shown.get_system_commands(screen(shown))}
        assert {"Approve", "Finish", "Review", "Stop", "Search", "Demo", "Theme"} <= found.keys()
        assert not {"Resume", "Continue", "Report"} & found.keys()
        assert found["Finish"].help == "f: End with the best round"
        await found["Finish"].callback()
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        assert [c.choice for c in commands.read(run.commands_file)] == ["reject"]
