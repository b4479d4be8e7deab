"""What the Configuration screen looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from form import MODELS, PASSED, Host, settle, text_of
from frozen import until
from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.service import catalog
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.screens.pick_file import FileTree
from llamaduo_tui.widgets.coverage_preview import CoveragePreview

pytestmark = pytest.mark.usefixtures("known_machine")


async def coverage(pilot: Pilot[Any]) -> None:
    await pilot.press("down")
    await settle(pilot)
    assert pilot.app.screen.query(CoveragePreview)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
class TestLooks:
    """Snapshots of the screen."""

    def test_coverage(self, file: Path, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
        assert snap_compare(Host(file), terminal_size=size, run_before=coverage)

    def test_coverage_without_colour(
        self, file: Path, size: tuple[int, int], snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert snap_compare(Host(file), terminal_size=size, run_before=coverage)

    def test_a_problem(self, file: Path, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
        async def spoil(pilot: Pilot[Any]) -> None:
            await pilot.press(*["down"] * 5, "enter", "backspace", "0")
            await settle(pilot)
            await pilot.press("f6")
            await settle(pilot)

        assert snap_compare(Host(file), terminal_size=size, run_before=spoil)

    def test_a_preflight(
        self, file: Path, size: tuple[int, int], snap_compare: Callable[..., bool], checked: Callable[..., None]
    ) -> None:
        checked(PASSED)

        async def examine(pilot: Pilot[Any]) -> None:
            await pilot.press("f5")
            await settle(pilot)

        assert snap_compare(Host(file), terminal_size=size, run_before=examine)

    def test_the_file_picker(self, file: Path, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
        Path("data/folder").mkdir(parents=True)
        Path("rows.jsonl").rename("data/rows.jsonl")

        async def look(pilot: Pilot[Any]) -> None:
            await until(pilot, lambda: "1 problem" in text_of(pilot, "#verdict"))  # the file of the settings is gone
            await pilot.press("f4")
            await settle(pilot)
            await pilot.press("shift+tab", *"data", "enter")
            pilot.app.screen.query_one(Input).clear()
            tree = pilot.app.screen.query_one(FileTree)
            await until(pilot, lambda: len(tree.root.children) == 2)
            await pilot.press("down", "down")
            await until(pilot, lambda: "23 rows" in text_of(pilot, ".counts"))
            pilot.app.screen.query_one("#folder", Static).update("/data")

        assert snap_compare(Host(file), terminal_size=size, run_before=look)

    def test_models(
        self, file: Path, size: tuple[int, int], snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        monkeypatch.setattr(catalog, "listed", lambda: MODELS)

        async def choose(pilot: Pilot[Any]) -> None:
            await pilot.press("down", "down", "enter", "f4")
            await settle(pilot)
            await pilot.press(*"gpt-4o")
            await settle(pilot)

        assert snap_compare(Host(file), terminal_size=size, run_before=choose)

    def test_presets(self, file: Path, size: tuple[int, int], snap_compare: Callable[..., bool], looked: None) -> None:
        async def choose(pilot: Pilot[Any]) -> None:
            form = pilot.app.screen
            assert isinstance(form, ConfigureScreen)
            await until(pilot, lambda: any("sealed" in text for _, text in form._outlook.lines))
            await pilot.press("f3")
            await until(pilot, lambda: not isinstance(pilot.app.screen, ConfigureScreen))
            await settle(pilot)

        assert snap_compare(Host(file), terminal_size=size, run_before=choose)


def test_looks_wide(file: Path, snap_compare: Callable[..., bool]) -> None:
    """A wide terminal has the values of all sections, and below the fields all that they mean for the data."""

    async def tune(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "sealed" in text_of(pilot, "Meanings"))
        await pilot.press(*["down"] * 5, "enter")
        await settle(pilot)
        await until(pilot, lambda: "▸ training" in text_of(pilot, "Meanings"))
        assert isinstance(pilot.app.focused, Input)
        pilot.app.focused.cursor_blink = False
        await pilot.pause()

    assert snap_compare(Host(file), terminal_size=(200, 60), run_before=tune)
