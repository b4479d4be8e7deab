"""Home: the list of runs as people use it."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
from frozen import app, make, some, until
from textual.widgets import Input, OptionList, Static

from engine.protocol import commands
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.control import actions, launch
from llamaduo_tui.screens.compare import CompareScreen
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.screens.confirm import ConfirmScreen
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.screens.runs import RunsScreen


def rows(shown: LlamaDuoApp) -> list[str]:
    listed = shown.query_one(OptionList)
    return [str(listed.get_option_at_index(n).prompt) for n in range(listed.option_count)]


def toasts(shown: LlamaDuoApp) -> list[str]:
    return [note.message for note in shown._notifications]


async def test_who_waits_stands_first_then_the_newest(root: Path) -> None:
    some(root)
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(rows(shown)) == 5)
        names = [row.split("  ")[0].strip() for row in rows(shown)]
        assert names == ["◆ waits for you", "▶ running", "✓ reached", "✗ failed", "✗ crashed"]


async def test_the_welcome_is_whole_in_a_small_terminal(root: Path) -> None:
    shown = app(root)
    async with shown.run_test(size=(60, 20)) as pilot:
        await until(pilot, lambda: shown.screen.has_class("-empty"))
        for said in shown.screen.query("Welcome Static"):
            assert shown.screen.region.contains_region(said.region)
            assert max(map(len, str(said.visual).split("\n"))) <= said.content_size.width or said.has_class("said")


async def test_rows_of_a_long_list_end_before_its_scrollbar(root: Path) -> None:
    for number in range(30):
        make(root, f"a-run-with-quite-a-long-name-{number}", "stopped", [])
    shown = app(root)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(rows(shown)) == 30)
        listed = shown.query_one(OptionList)
        await until(pilot, lambda: {len(row) for row in rows(shown)} == {listed.scrollable_content_region.width})
        assert listed.show_vertical_scrollbar


async def test_a_change_is_drawn_in_place(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaduo_tui.app.POLL_S", 0.05)
    made = some(root)
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(rows(shown)) == 5)
        await pilot.press("down", "down")
        status = made["naïve-日本語"].status()
        from msgspec.structs import replace

        made["naïve-日本語"].write_status(replace(status, cost_usd=77.0))
        await until(pilot, lambda: "$77.00" in rows(shown)[2])
        assert shown.query_one(OptionList).highlighted == 2


async def test_search_narrows_and_enter_opens(root: Path) -> None:
    some(root)
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(rows(shown)) == 5)
        await pilot.press("slash", *"wrong")
        assert len(rows(shown)) == 1
        await pilot.press("enter", "enter")
        await until(pilot, lambda: isinstance(shown.screen, RunScreen))
        assert shown.screen.run.name == "wrong-key"
        await pilot.press("escape")
        assert isinstance(shown.screen, RunsScreen)
        await pilot.press("escape")
        assert len(rows(shown)) == 5
        assert not shown.query_one(Input).display


async def test_deleting_is_confirmed_and_no_is_the_first_answer(root: Path) -> None:
    run = make(root, "old", "reached", frozen.REACHED)
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(rows(shown)) == 1)
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        await pilot.press("enter")
        assert run.folder.exists()
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: not run.folder.exists())


def test_a_run_at_work_is_not_deleted(root: Path) -> None:
    run = make(root, "busy", "running", frozen.TRAINING)
    with pytest.raises(actions.InputError, match="cannot be deleted while it is"):
        actions.delete(run)
    assert run.events_file.exists()


async def test_dead_keys_are_hidden(root: Path) -> None:
    make(root, "old", "reached", frozen.REACHED)
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(rows(shown)) == 1)
        keys = {b.binding.id for b in shown.screen.active_bindings.values() if b.enabled}
        assert {"runs.open", "runs.delete", "runs.search", "app.quit"} <= keys
        assert not {"runs.stop", "runs.resume", "runs.all"} & keys


async def test_nothing_yet_invites_to_the_demo(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Run] = []
    monkeypatch.setattr(launch, "start", lambda run, yes: started.append(run) or 1)
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: shown.screen.has_class("-empty"))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(shown.screen, RunScreen))
        assert [run.name for run in started] == ["demo"]


async def test_a_demo_beside_other_runs_is_confirmed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Run] = []
    monkeypatch.setattr(launch, "start", lambda run, yes: started.append(run) or 1)
    make(root, "old", "reached", frozen.REACHED)
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(rows(shown)) == 1)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(shown.screen, RunsScreen))
        assert not started
        await pilot.press("d")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(shown.screen, RunScreen))
        assert [run.name for run in started] == ["demo"]


async def test_resuming_a_paused_run_tells_its_worker(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "PAUSE_S", 0.0)
    run = make(root, "held", "paused", frozen.TRAINING)
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(rows(shown)) == 1)
        await pilot.press("r")
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        assert [c.kind for c in commands.read(run.commands_file)] == ["resume"]
        await until(pilot, lambda: any("has not yet" in said for said in toasts(shown)))


async def test_who_begins_to_wait_is_told_on_other_screens(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaduo_tui.app.POLL_S", 0.05)
    run = make(root, "busy", "running", frozen.TRAINING)
    shown = app(root)
    bells: list[int] = []
    monkeypatch.setattr(shown, "bell", lambda: bells.append(1))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(rows(shown)) == 1)
        from msgspec.structs import replace

        run.write_status(replace(run.status(), state=State.WAITING))
        await until(pilot, lambda: "◆ waits for you" in toasts(shown))
        assert bells == [1]


async def test_a_run_is_duplicated_into_new_settings(root: Path) -> None:
    run = make(root, "tickets", "reached", frozen.REACHED)
    before = run.settings_file.read_bytes()
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: shown.screen.query_one(OptionList).option_count > 0)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(shown.screen, ConfigureScreen) and shown.screen.is_mounted)
        assert "new settings ● not saved" in str(shown.screen.query_one("#where", Static).content)
        await pilot.press("escape")
    assert run.settings_file.read_bytes() == before


async def test_one_run_is_one_run(root: Path) -> None:
    make(root, "tickets", "reached", frozen.REACHED)
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: shown.screen.query_one(OptionList).option_count > 0)
        assert "1 run" in str(shown.screen.query_one("#head", Static).content)
        assert "1 runs" not in str(shown.screen.query_one("#head", Static).content)


async def test_marked_runs_are_compared(root: Path) -> None:
    for name in ("one", "two", "three"):
        make(root, name, "reached", frozen.REACHED)
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(rows(shown)) == 3)
        await pilot.press("space")
        assert "compare" not in {b.binding.action for b in shown.screen.active_bindings.values() if b.enabled}
        await pilot.press("space", "equals_sign")
        await until(pilot, lambda: isinstance(shown.screen, CompareScreen))
        await until(pilot, lambda: "coverage.source" in str(shown.screen.query_one("#compare-text", Static).content))
        await pilot.press("2", "3")
        await until(pilot, lambda: isinstance(shown.screen.focused, OptionList))
        await pilot.press("escape")
        assert "2 marked" in str(shown.screen.query_one("#head", Static).content)


async def test_order_filter_and_the_keys_of_vi(root: Path) -> None:
    some(root)
    shown = app(root)
    async with shown.run_test(size=(200, 40)) as pilot:
        await until(pilot, lambda: len(rows(shown)) == 5)
        assert all(
            head in str(shown.screen.query_one("#columns", Static).content) for head in ("MODEL", "LEFT", "PAIRS")
        )
        listed = shown.query_one(OptionList)
        await pilot.press("G")
        assert listed.highlighted == 4
        await pilot.press("k", "k", "j")
        assert listed.highlighted == 3
        await pilot.press("g")
        assert listed.highlighted == 0
        await pilot.press("s")
        assert "naïve" in rows(shown)[0] and "by precision" in str(shown.screen.query_one("#head", Static).content)
        assert "round 1    64.3   59–69" in str(shown.screen.query_one("#chosen", Static).content)
        await pilot.press("f", "f")
        assert [row.split("  ")[0] for row in rows(shown)] == ["◆ waits for you"]
        assert shown.screen.query_one("#chosen").display
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: not shown.screen.query_one("#chosen").display)
