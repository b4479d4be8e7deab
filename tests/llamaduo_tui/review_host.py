"""The review alone in an app, and what is read off it."""

from __future__ import annotations

from typing import Any

from frozen import until
from textual.pilot import Pilot

from engine.protocol import commands
from engine.protocol.commands import Label
from engine.protocol.run_dir import Run
from llamaduo_tui.key_turns import KeyTurns
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.widgets.prompt_list import PromptList
from llamaduo_tui.widgets.response_view import ResponseView


class Host(KeyTurns[None]):
    """An app with nothing but the screen, which handles keys as the whole app does."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run_shown = run

    def on_mount(self) -> None:
        self.push_screen(ReviewScreen(self.run_shown))

    def copy_text(self, text: str, _: str) -> None:
        """As the whole app does outside of tmux."""
        self.copy_to_clipboard(text)


async def settle(pilot: Pilot[Any]) -> ReviewScreen:
    """Wait until every reader is done and what it read is drawn."""
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, ReviewScreen)
    return screen


async def drawn(pilot: Pilot[Any]) -> None:
    """Wait until the first prompt is read and shown, too."""
    screen = await settle(pilot)
    await until(pilot, lambda: screen.query_one(ResponseView).page is not None)
    await settle(pilot)


async def press(pilot: Pilot[Any], *keys: str) -> ReviewScreen:
    await settle(pilot)
    for key in keys:
        await pilot.press(key)
        await settle(pilot)
    return await settle(pilot)


def shown(screen: ReviewScreen) -> tuple[int | None, str, int]:
    page = screen.query_one(ResponseView).page
    assert page is not None
    return page.key


def listed(screen: ReviewScreen) -> list[str]:
    return [item.id for item in screen.query_one(PromptList).items]


def labels(run: Run) -> dict[tuple[int | None, str, int], Label]:
    return commands.labels(run.commands_file)
