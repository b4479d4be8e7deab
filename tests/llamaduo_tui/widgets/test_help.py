"""The help beside every screen, and the palette."""

from __future__ import annotations

from pathlib import Path

import data_run
import frozen
import pytest
import review_run
from frozen import app, make, replayed, screen, until
from textual.widgets import Markdown

from engine.protocol import commands
from llamaduo_tui.screens.run import RunScreen

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
