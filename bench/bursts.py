"""Bursts of keys on every screen, and a hang-up: they end where a slow typist would, and nothing typed is lost.

    python bench/bursts.py [--check]

Prints a table: burst, bar, measured; the figures are bursts that ended otherwise. `--check` exits 1 where one did.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "llamaduo_tui"))

import data_run
import frozen
import review_run
from terminals import Terminal
from textual.pilot import Pilot
from typing_fast import burst, settled, state

from engine.protocol.errors import InputError
from llamaduo_tui import messages, run_actions
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.screens.data import DataScreen
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.screens.runs import RunsScreen
from llamaduo_tui.views import kept, kinds, outlook, preflight, presets, profile

SETTINGS = '[coverage]\nsource = "rows.jsonl"\n[service]\nmodel = "sandbox"\n'
KINDS = {"runs": RunsScreen, "run": RunScreen, "review": ReviewScreen, "data": DataScreen, "configure": ConfigureScreen}
OPENS = {"review": "v", "data": "d"}
RESTS = ("down", "pagedown", "tab", "enter", "f1", "f4")
MIXED = {
    "runs": [*["down"] * 20, *["slash", "o", "t"], "escape", *["up"] * 20, "n", "escape", "question_mark", "escape"],
    "run": [*["tab"] * 20, *["down"] * 20, "slash", *"train", "enter", "escape", "question_mark", "escape", "tab"],
    "review": [
        *["down"] * 20, "n", *["backspace"] * 5, *"40", "enter", *["backspace"] * 5, *"50", "enter", *"why", "enter",
        "down", "y", "u", "b", "Y", "n", "U", "D", "enter", "escape", "i", "escape", "down",
    ],
    "data": [*["down"] * 20, *["tab"] * 7, *["up"] * 20, "question_mark", "escape", "pagedown"],
    "configure": [
        *["down"] * 5, "enter", *["backspace"] * 2, *"12", "enter", *["pagedown"] * 4, *["pageup"] * 9,
        "enter", "f4", *"x", "escape", "tab", *"my", "f4", *"abc", "enter", *"de", "escape", "f6",
        "f4", *["down"] * 3, "escape", *["pagedown"] * 12, "m", "f1", "escape", *["up"] * 20,
    ],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        keep_still()
        os.chdir(folder)
        os.environ["XDG_STATE_HOME"] = folder
        Path("m.toml").write_text(SETTINGS)
        for name in KINDS:
            fast, slow = (asyncio.run(end(Path(folder, f"{name}-{fast}"), name, fast=fast)) for fast in (True, False))
            stuck = asyncio.run(twenty(Path(folder, f"{name}-20"), name))
            for what, measured in (("fast is not slow", int(fast != slow)), ("20 at once", stuck)):
                print(f"{name:<10} {what:<18} 0 {measured}", flush=True)
                wrong += measured
        lost = hung_up(Path(folder, "m.toml"))
        print(f"{'configure':<10} {'lost at a hang-up':<18} 0 {lost}")
    raise SystemExit(options.check and wrong + lost > 0)


def keep_still() -> None:
    """Nothing is started, whichever keys are hit, and the machine is not asked for its models."""

    def refuse(*_: object) -> None:
        raise InputError("not in this benchmark")

    nothing = [sys.executable, "-Sc", ""]
    for module, name, value in (
        (run_actions, "_start", refuse),
        (run_actions, "_resume", refuse),
        (outlook, "facts", lambda: outlook.Facts({}, {}, 2**30)),
        (profile, "command", lambda: nothing),
        (presets, "command", lambda: nothing),
        (kinds, "command", lambda _: nothing),
        (preflight, "command", lambda _: nothing),
    ):
        setattr(module, name, value)


def hung_up(file: Path) -> int:
    """1 where what was typed before a hang-up is lost."""
    screen = Terminal("edit", str(file))
    screen.read_until("Configuration")
    screen.press("\rhalf a na")
    screen.read_until("half a na")
    screen.hang_up()
    os.waitpid(screen.pid, 0)
    return int([one.draft()["task", "name"] for one in kept.left(file)] != ["half a na"])


def at(root: Path, name: str) -> LlamaDuoApp:
    """An app with runs to list, and one to show where the screen needs it."""
    run = data_run.coverage(review_run.rounds(frozen.make(root, "done", "reached", frozen.REACHED)))
    frozen.make(root, "other", "reached", frozen.REACHED, 900)
    return frozen.app(root, None if name in ("runs", "configure") else run)


async def opened(pilot: Pilot[None], shown: LlamaDuoApp, name: str) -> None:
    """Go to a screen."""
    if name == "configure":
        shown.post_message(messages.Configure(Path("m.toml")))
    elif name != "runs":
        await frozen.until(pilot, lambda: frozen.replayed(shown))
        if name in OPENS:
            await pilot.press(OPENS[name])
    await frozen.until(pilot, lambda: isinstance(shown.screen, KINDS[name]) and shown.focused is not None)
    await settled(pilot)


async def end(root: Path, name: str, *, fast: bool) -> list[object]:
    """What a person sees after the mixed keys."""
    shown = at(root, name)
    async with shown.run_test(size=(120, 40)) as pilot:
        await opened(pilot, shown, name)
        for keys in [MIXED[name]] if fast else [[key] for key in MIXED[name]]:
            await burst(pilot, *keys)
        return state(shown)


async def twenty(root: Path, name: str) -> int:
    """How many keys, 20 of each at once, end in a screen that Escape does not leave."""
    stuck = 0
    shown = at(root, name)
    async with shown.run_test(size=(120, 40)) as pilot:
        await opened(pilot, shown, name)
        screen = shown.screen
        for key in RESTS:
            await burst(pilot, *[key] * 20)
            while screen in shown.screen_stack and shown.screen is not screen:
                above = shown.screen
                await burst(pilot, "escape")
                if shown.screen is above:
                    stuck += 1
                    break
            if screen not in shown.screen_stack:
                await opened(pilot, shown, name)
                screen = shown.screen
    return stuck


if __name__ == "__main__":
    main()
