"""Bursts of keys on every screen: they end where a slow typist would, and never freeze or crash the app."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import data_run
import frozen
import pytest
import review_run
from frozen import app, make, replayed, until
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input
from typing_fast import burst, settled, state

from engine.protocol.errors import InputError
from llamaduo_tui import messages, run_actions
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.key_turns import PATIENCE_S, KeyTurns
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.screens.data import DataScreen
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.views import outlook, preflight, presets, profile

pytestmark = pytest.mark.usefixtures("still_machine")
SETTINGS = '[coverage]\nsource = "rows.jsonl"\n[service]\nmodel = "sandbox"\n'
RESTS = {"down", "pagedown", "tab", "enter", "f1", "f4"}


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No process is started, whichever keys are hit."""

    def refuse(*_: object) -> None:
        raise InputError("not in this test")

    monkeypatch.chdir(tmp_path)
    Path("m.toml").write_text(SETTINGS)
    monkeypatch.setattr(run_actions, "_start", refuse)
    monkeypatch.setattr(run_actions, "_resume", refuse)
    monkeypatch.setattr(outlook, "facts", lambda: outlook.Facts({}, {}, 2**30))
    for module in (profile, presets):
        monkeypatch.setattr(module, "command", lambda: [sys.executable, "-Sc", ""])
    monkeypatch.setattr(preflight, "command", lambda _: [sys.executable, "-Sc", ""])


async def opened(pilot: Pilot[Any], shown: LlamaDuoApp, name: str) -> Screen[Any]:
    """Go to a screen."""
    kinds: dict[str, type[Screen[Any]]] = {"configure": ConfigureScreen, "review": ReviewScreen, "data": DataScreen}
    if name == "configure":
        shown.post_message(messages.Configure(Path("m.toml")))
    elif name != "runs":
        await until(pilot, lambda: replayed(shown))
        if name in kinds:
            await pilot.press({"review": "v", "data": "d"}[name])
    if name in kinds:
        await until(pilot, lambda: isinstance(shown.screen, kinds[name]) and shown.focused is not None)
    await settled(pilot)
    return shown.screen


def at(root: Path, name: str) -> LlamaDuoApp:
    """An app with runs to list, and one to show where the screen needs it."""
    run = data_run.coverage(review_run.rounds(make(root, "done", "reached", frozen.REACHED)))
    make(root, "other", "reached", frozen.REACHED, 900)
    return app(root, None if name in ("runs", "configure") else run)


MIXED = {
    "runs": [*["down"] * 20, *["slash", "o", "t"], "escape", *["up"] * 20, "n", "escape", "question_mark", "escape"],
    "run": [*["tab"] * 20, *["down"] * 20, "slash", *"train", "enter", "escape", "question_mark", "escape", "tab"],
    "review": [
        *["down"] * 20, "n", *["backspace"] * 5, *"40", "enter", *["backspace"] * 5, *"50", "enter", *"why", "enter",
        "down",
    ],
    "data": [*["down"] * 20, *["tab"] * 7, *["up"] * 20, "question_mark", "escape", "pagedown"],
    "configure": [
        *["down"] * 5, "enter", *["backspace"] * 2, *"12", "enter", *["pagedown"] * 4, *["pageup"] * 9,
        "enter", "f4", *"x", "escape", "tab", *"my", "f4", *"abc", "enter", *"de", "escape", "f6",
        "f4", *["down"] * 3, "escape", *["pagedown"] * 12, "m", "f1", "escape", *["up"] * 20,
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
async def test_a_burst_ends_where_a_slow_typist_does(root: Path, name: str) -> None:
    ends = []
    for fast in (True, False):
        shown = at(root / str(fast), name)
        async with shown.run_test(size=(120, 40)) as pilot:
            await opened(pilot, shown, name)
            if fast:
                await burst(pilot, *MIXED[name])
            else:
                for key in MIXED[name]:
                    await burst(pilot, key)
            ends.append(state(shown))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", ["runs", "configure"])
async def test_twenty_of_each_key_at_once_neither_freeze_nor_crash(root: Path, name: str) -> None:
    shown = at(root, name)
    async with shown.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, shown, name)
        for key in sorted(RESTS):
            await burst(pilot, *[key] * 20)
            while screen in shown.screen_stack and shown.screen is not screen:
                above = shown.screen
                await burst(pilot, "escape")
                assert shown.screen is not above, f"{key}: escape does not leave {above}"
            if shown.screen is not screen:
                screen = await opened(pilot, shown, name)
        assert shown.is_running


class Slow(KeyTurns[None]):
    """An app in which a key takes longer than any key should wait."""

    BINDINGS = [("f2", "hang", "Hang")]  # noqa: RUF012 - as in Textual

    def compose(self) -> Any:
        yield Input()

    async def action_hang(self) -> None:
        self.began = time.monotonic()
        await asyncio.sleep(PATIENCE_S * 1.5)


async def test_a_key_waits_for_the_one_before_but_not_for_ever() -> None:
    shown = Slow()
    async with shown.run_test() as pilot:
        await burst(pilot, "f2", "a", "b")
        assert shown.query_one(Input).value == "ab"
        assert time.monotonic() - shown.began >= PATIENCE_S
