"""Clicks that come faster than what they close is gone."""

from __future__ import annotations

from typing import Any

import pytest
from textual.app import ComposeResult
from textual.events import MouseDown, MouseEvent, MouseMove, MouseUp
from textual.geometry import Offset
from textual.screen import ModalScreen, Screen
from textual.widgets import Button, Static

from llamaduo_tui.key_turns import KeyTurns


class Dialog(ModalScreen[None]):
    def compose(self) -> ComposeResult:
        yield Button("Cancel")

    def on_button_pressed(self) -> None:
        self.dismiss(None)


class Below(Screen[None]):
    def compose(self) -> ComposeResult:
        yield Static("what is not saved yet")


async def test_two_clicks_close_one_dialog() -> None:
    """Textual closes whatever is on top at the second one."""
    shown: KeyTurns[None] = KeyTurns()
    async with shown.run_test() as pilot:
        below, dialog = Below(), Dialog()
        await shown.push_screen(below)
        await shown.push_screen(dialog)
        button = dialog.query_one(Button)
        for _ in range(2):
            button.post_message(Button.Pressed(button))
        await pilot.pause()
        await pilot.pause()
        assert shown.screen is below


@pytest.mark.parametrize("event", [MouseDown, MouseUp, MouseMove])
async def test_a_click_on_what_is_removed_and_still_drawn_ends_nothing(
    event: type[MouseEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: KeyTurns[None] = KeyTurns()
    async with shown.run_test() as pilot:
        below = Below()
        await shown.push_screen(below)
        removed: Any = Static("a toast")
        monkeypatch.setattr(below, "get_widget_and_offset_at", lambda _x, _y: (removed, Offset(0, 0)))
        shown.post_message(event(None, 3, 0, 0, 0, 1, False, False, False))
        await pilot.pause()
        await pilot.pause()
        assert shown.is_running and shown.screen is below
