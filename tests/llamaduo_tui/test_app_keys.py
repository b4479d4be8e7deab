"""Keys that belong to the terminal elsewhere: Ctrl+C and Ctrl+Z."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
from frozen import app, make, until
from textual.widgets import Input
from typing_fast import burst

from llamaduo_tui import terminal
from llamaduo_tui.screens.confirm import ConfirmScreen

pytestmark = pytest.mark.usefixtures("still_machine")


async def test_ctrl_c_copies_a_selection_closes_a_dialog_and_else_the_app(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    monkeypatch.setattr(terminal, "copy_to_tmux", lambda text: bool(copied.append(text)))
    make(root, "done", "reached", frozen.REACHED)
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: bool(shown._entries))
        screen = shown.screen
        await burst(pilot, "slash", *"done", "shift+home", "ctrl+c")
        assert copied == ["done"] and shown.clipboard == "done", "tmux drops what Textual alone copies"
        await burst(pilot, "end", "escape", "delete")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        await burst(pilot, "ctrl+c")
        assert shown.screen is screen and shown.is_running, "it closes the dialog, as Esc does"
        await burst(pilot, "ctrl+p", "ctrl+c")
        assert shown.screen is screen and shown.is_running
        assert (root / "done").is_dir()
        await burst(pilot, "slash", "ctrl+c")
        await until(pilot, lambda: not shown.is_running)


async def test_keys_typed_behind_ctrl_z_are_not_the_app_s(root: Path) -> None:
    """The shell has the terminal then, and they would mean something else here: `jobs` opened the release."""
    make(root, "done", "reached", frozen.REACHED)
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: bool(shown._entries))
        await burst(pilot, "ctrl+z", "slash", *"jobs", "enter")
        assert not shown.screen.query(Input)
        await burst(pilot, "slash", "x")
        assert shown.screen.query_one(Input).value == "x", "keys typed after fg count"
