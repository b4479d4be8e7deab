"""A screen has the design of its terminal before anything of it is laid out."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from llamaduo_tui.widgets import design


class Wide(Screen[None]):
    HORIZONTAL_BREAKPOINTS = [(0, "-small"), (80, "-narrow"), (110, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    first: frozenset[str] = frozenset()

    def compose(self) -> ComposeResult:
        design.fit(self)
        self.first = frozenset(self.classes)
        yield Static("text")


@pytest.mark.parametrize(
    ("size", "classes"),
    [((79, 31), {"-small", "-short"}), ((80, 32), {"-narrow", "-tall"}), ((200, 60), {"-wide", "-tall"})],
)
async def test_its_breakpoints_hold_from_the_start_and_change_with_the_terminal(
    size: tuple[int, int], classes: set[str]
) -> None:
    async with App[None]().run_test(size=size) as pilot:
        screen = Wide()
        await pilot.app.push_screen(screen)
        assert screen.first == classes
        await pilot.resize_terminal(90, 24)
        await pilot.pause()
        assert set(screen.classes) & {"-small", "-narrow", "-wide", "-short", "-tall"} == {"-narrow", "-short"}
