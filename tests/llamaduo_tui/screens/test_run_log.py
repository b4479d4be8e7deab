"""The log of a run on its screen: followed, searched, copied, saved."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
from frozen import app, make, replayed, screen, until
from textual.geometry import Region
from textual.widgets import Log

from engine.protocol import jsonl
from engine.protocol.events import Event, to_row
from engine.protocol.events import Log as LogEvent
from llamaduo_tui import terminal
from llamaduo_tui.views.watcher import Line
from llamaduo_tui.widgets import log_view
from llamaduo_tui.widgets.following_log import FollowingLog
from llamaduo_tui.widgets.log_view import LogView

pytestmark = pytest.mark.usefixtures("still_machine")


async def test_the_log_follows_until_the_reader_scrolls_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many: list[Event] = [LogEvent(level="info", message=f"line {n}") for n in range(300)]
    run = make(root, "busy", "running", many)
    shown = app(root, run)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        log, view = screen(shown).query_one(Log), screen(shown).query_one(LogView)
        await until(pilot, lambda: log.is_vertical_scroll_end and log.max_scroll_y > 0)
        await pilot.press("home")
        await until(pilot, lambda: log.scroll_y == 0)
        with monkeypatch.context() as context:
            context.setattr(log, "refresh", lambda *_, **__: pytest.fail("what is read is drawn again"))
            jsonl.append(run.events_file, [to_row(LogEvent(level="info", message="new", seq=999, time=frozen.NOW))])
            await until(pilot, lambda: bool(view.waiting))
        await pilot.press("end")
        await until(pilot, lambda: log.is_vertical_scroll_end and log.lines[-1].endswith("new"))
        for key in ("pageup", "pagedown"):
            await pilot.press(key)
        view.add([Line("newer")], [])
        await until(pilot, lambda: log.is_vertical_scroll_end and log.lines[-1].endswith("newer"))
        await pilot.resize_terminal(80, 40)
        await until(pilot, lambda: log.is_vertical_scroll_end)


async def test_a_line_that_comes_with_a_key_takes_nobody_back_to_the_end(root: Path) -> None:
    shown = app(root, make(root, "busy", "running", frozen.WAITING[:6]))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        log, view = screen(shown).query_one(FollowingLog), screen(shown).query_one(LogView)
        view.add([Line(f"line {n}") for n in range(100)], [])
        await until(pilot, lambda: log.is_vertical_scroll_end)
        log.action_scroll_up()  # Textual moves at its next frame
        view.add([Line("newer")], [])
        await until(pilot, lambda: not log.is_vertical_scroll_end)
        assert view.waiting == ["newer"] and view.border_subtitle == "press end to follow"


async def test_what_is_read_stays_in_place_while_the_oldest_lines_go(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_view, "KEPT_LINES", 100)
    shown = app(root, make(root, "busy", "running", frozen.WAITING[:6]))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        log, view = screen(shown).query_one(Log), screen(shown).query_one(LogView)
        view.add([Line(f"line {n}") for n in range(100)], [])
        await until(pilot, lambda: log.is_vertical_scroll_end)
        await pilot.press("up", "up", "up")
        await until(pilot, lambda: not log.is_vertical_scroll_end)
        read = log.lines[int(log.scroll_y)]
        view.add([Line(f"line {n}") for n in range(100, 130)], [])
        assert log.lines[int(log.scroll_y)] == read
        await pilot.press("end")
        view.add([Line(f"line {n}") for n in range(130, 140)], [])
        await until(pilot, lambda: log.is_vertical_scroll_end and view.border_subtitle == "following")
        drawn: list[tuple[Region, ...]] = []
        monkeypatch.setattr(log, "refresh", lambda *regions, **_: drawn.append(regions))
        view.add([Line("line 140")], [])
        assert log.lines[-1] == "line 140"
        assert () in drawn


async def test_search_level_stage_output_and_save(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        view, log = screen(shown).query_one(LogView), screen(shown).query_one(Log)
        await pilot.press("slash", *"dev loss", "enter")
        assert view.border_subtitle == "10 lines match"
        await pilot.press("n", "escape", "e")
        assert len(log.lines) == 1
        assert "busy (429)" in log.lines[0]
        await pilot.press("w")
        await until(pilot, lambda: (tmp_path / "done-events.txt").exists())
        assert "busy (429)" in (tmp_path / "done-events.txt").read_text()
        await pilot.press("e", "e", "g")
        assert "coverage" in log.lines[0]
        await pilot.press("O")
        assert log.lines == ["loading weights", "␛[31mstep [bold]1[/nope]"]


async def test_of_the_log_the_selection_the_page_or_all_that_match_are_copied_and_saved(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    copied: list[str] = []
    monkeypatch.setattr(terminal, "copy_to_tmux", lambda text: bool(copied.append(text)))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        log = screen(shown).query_one(Log)
        await until(pilot, lambda: log.is_vertical_scroll_end)
        await pilot.press("Y")
        page = log.lines[log.scroll_offset.y :]
        assert copied[-1].split("\n") == list(page)
        assert len(page) == log.size.height < len(log.lines)
        await pilot.press("slash", *"dev loss", "enter", "y")
        assert len(copied[-1].split("\n")) == 10
        assert all("dev loss" in line for line in copied[-1].split("\n"))
        await pilot.press("w")
        await until(pilot, lambda: (tmp_path / "done-events.txt").exists())
        assert (tmp_path / "done-events.txt").read_text() == copied[-1] + "\n"
        monkeypatch.setattr(screen(shown), "get_selected_text", lambda: "just this")
        await pilot.press("y")
        assert copied[-1] == "just this"
        await pilot.press("W")
        await until(pilot, lambda: (tmp_path / "done-events-2.txt").exists())
        assert (tmp_path / "done-events-2.txt").read_text() == "just this\n"


async def test_a_line_that_goes_on_beyond_an_edge_says_so(root: Path) -> None:
    shown = app(root, make(root, "busy", "running", [LogEvent(level="info", message="word " * 40)]))
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: replayed(shown))
        log = screen(shown).query_one(Log)
        screen(shown).query_one(LogView).add([Line("short"), *[Line("much " * 40)] * 40], [])
        for at in (0, 7):
            log.scroll_to(at, 0, animate=False, immediate=True)
            await until(pilot, lambda: log.scroll_y == 0 and log.max_scroll_y > 0)
            width = log.scrollable_content_region.width
            rows = [strip.text[:width] for strip in log.render_lines(Region(0, 0, *log.size))]
            assert [row.endswith("…") for row in rows[:3]] == [True, False, True]
            assert all(row.startswith("…") is bool(at) for row in rows[:3])
