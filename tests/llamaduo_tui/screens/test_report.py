"""How a run ended: on its own screen, and in its report."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
from frozen import app, make, replayed, screen, until
from textual.widgets import Log, Markdown

from llamaduo_tui.screens.report import ReportScreen
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.widgets.timeline import Timeline

pytestmark = pytest.mark.usefixtures("still_machine")


async def test_the_report_of_a_finished_run_is_read_in_the_app(root: Path) -> None:
    run = make(root, "done", "reached", frozen.REACHED)
    run.report_file.parent.mkdir(exist_ok=True)
    run.report_file.write_text("# done: target reached\n\n\x1b]52;c;aGk=\x07 stays text.\n")
    shown = app(root, run)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(shown.screen, ReportScreen))
        await until(pilot, lambda: len(shown.screen.query("MarkdownParagraph")) == 1)
        said = str(shown.screen.query_one(Markdown).source)
        assert "␛]52;c;aGk=␇ stays text" in said
        assert "\x1b" not in said
        await pilot.press("escape")
        assert isinstance(shown.screen, RunScreen)


async def test_a_run_at_work_has_no_report(root: Path) -> None:
    shown = app(root, make(root, "busy", "running", frozen.TRAINING))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        assert "run.report" not in {active.binding.id for active in shown.screen.active_bindings.values()}


async def test_how_it_ended_fits_a_small_terminal(root: Path) -> None:
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: replayed(shown))
        await until(
            pilot, lambda: "sealed" in str(screen(shown).query_one(Timeline).content) or shown.screen.view.concluded
        )
        assert screen(shown).max_scroll_y == 0
        assert screen(shown).query_one("#rounds").max_scroll_y == 0
        assert screen(shown).query_one(Log).size.height >= 4
