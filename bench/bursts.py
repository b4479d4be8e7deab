"""Bursts of keys on every screen, and a hang-up: they end where a slow typist would, and nothing typed is lost.

    python bench/bursts.py [--check] [--screen NAME ...] [--terminal]

Prints a table: screen, burst, bar, measured; the figures are bursts that ended otherwise. `--check` exits 1 where one
did. `--screen` tries some screens only, `--terminal` only the program in a terminal, on a machine that is kept busy.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "llamaduo_tui"))

import data_run
import frozen
import review_run
from textual.pilot import Pilot
from textual.screen import Screen
from typing_fast import burst, settled, state

from engine.protocol import jsonl, records
from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.protocol.status import Process
from engine.protocol.takeover import DoorSettings, DoorState, DoorStatus, Mode, files
from engine.service import catalog
from engine.service.catalog import Listed
from llamaduo_tui import key_turns, messages, run_actions, terminal
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.cli.main import main as program
from llamaduo_tui.control import actions, release, takeover
from llamaduo_tui.screens.configure_dialogs import Ask
from llamaduo_tui.views import kept, kinds, outlook, preflight, presets, profile
from tests.terminal import Terminal

SETTINGS = '[coverage]\nsource = "rows.jsonl"\n[service]\nmodel = "sandbox"\n'
TIMES = 20
SIZE = (120, 40)
COMMON = ("down", "pagedown", "tab", "enter", "f1", "f4", "x", "7", "slash")
ANSWERS_S = 240.0
"""A frozen program never answers; a busy machine may take long."""
LEFT = ("escape", "q", "ctrl+c", "ctrl+q", "ctrl+z")
"""Keys that leave; what is on the screen then says nothing."""


@dataclass(frozen=True)
class Place:
    """A screen, or a dialog, `shows`: the runs that it needs, where the app begins, and the keys that lead to it."""

    shows: str
    keys: tuple[str, ...] = ()
    run: str = ""
    edits: bool = False
    runs: bool = True


PLACES = {
    "welcome": Place("RunsScreen", runs=False),
    "runs": Place("RunsScreen"),
    "search": Place("RunsScreen", ("slash", "o")),
    "run": Place("RunScreen", run="done"),
    "waiting": Place("RunScreen", run="waits"),
    "charts": Place("RunScreen", ("c",), run="done"),
    "review": Place("ReviewScreen", ("v",), run="done"),
    "review form": Place("ReviewScreen", ("v", "n"), run="done"),
    "review narrowed": Place("NarrowScreen", ("v", "i"), run="done"),
    "data": Place("DataScreen", ("d",), run="done"),
    "report": Place("ReportScreen", ("r",), run="done"),
    "release": Place("ReleaseScreen", ("o",), run="done"),
    "take-over": Place("TakeoverScreen", ("t",), run="done"),
    "compare": Place("CompareScreen", ("space", "space", "equals_sign")),
    "compare answers": Place("CompareScreen", ("space", "space", "equals_sign", "3")),
    "configure": Place("ConfigureScreen", edits=True),
    "configure field": Place("ConfigureScreen", ("enter",), edits=True),
    "configure value": Place("EditValue", ("enter", "down", "f4"), edits=True),
    "pick file": Place("PickCoverage", ("f4",), edits=True),
    "pick model": Place("PickModel", ("down", "down", "enter", "f4"), edits=True),
    "pick preset": Place("PickPreset", ("f3",), edits=True),
    "save as": Place("AskPath", ("n", "f2")),
    "unsaved": Place("Ask", ("enter", "x", "f6", "escape", "escape"), edits=True),
    "confirm": Place("ConfirmScreen", ("x",), run="waits"),
    "palette": Place("CommandPalette", ("ctrl+p",), run="done"),
    "themes": Place("ThemesScreen", ("T",)),
    "help": Place("RunScreen", ("f1",), run="done"),
}
MIXED = {
    "runs": [*["down"] * 20, *["slash", "o", "t"], "escape", *["up"] * 20, "n", "escape", "question_mark", "escape"],
    "run": [*["tab"] * 20, *["down"] * 20, "slash", *"train", "enter", "escape", "question_mark", "escape", "tab"],
    "review": [
        *["down"] * 20, "n", *["backspace"] * 5, *"40", "enter", *["backspace"] * 5, *"50", "enter", *"why", "enter",
        "down", "y", "u", "b", "Y", "n", "U", "D", "enter", "escape", "i", "escape", "down",
    ],
    "data": [*["down"] * 20, *["tab"] * 7, *["up"] * 20, "question_mark", "escape", "pagedown"],
    "compare": ["1", *["down"] * 5, "3", *["down"] * 3, "tab", "2", "right", "L", "3", "up", "question_mark", "escape"],
    "configure": [
        *["down"] * 5, "enter", *["backspace"] * 2, *"12", "enter", *["pagedown"] * 4, *["pageup"] * 9,
        "enter", "f4", *"x", "escape", "tab", *"my", "f2", *"own", "f4", *"abc", "enter", *"de", "escape", "f6",
        "f4", *["down"] * 3, "escape", *["pagedown"] * 12, "m", "f1", "escape", *["up"] * 20,
    ],
}  # fmt: skip
"""Keys that move the focus and open dialogs."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--screen", choices=PLACES, action="append")
    parser.add_argument("--terminal", action="store_true")
    parser.add_argument("--program", nargs=argparse.REMAINDER, help="the program itself, which starts nothing")
    options = parser.parse_args()
    if options.program is not None:
        keep_still()
        program(options.program)
    names = options.screen or list(PLACES)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {"XDG_STATE_HOME": folder, "XDG_CONFIG_HOME": folder, "LLAMADUO_RUNS": f"{folder}/runs"}
        Path("rows.jsonl").write_text("")
        wrong = in_terminal(Path(folder), names)
        if not options.terminal:
            keep_still()
            wrong += sum(tried(Path(folder), name) for name in names)
    raise SystemExit(options.check and wrong > 0)


async def until(pilot: Pilot[Any], what: Callable[[], bool]) -> None:
    """Let the app go on until it is so, which a busy machine may take long for."""
    await frozen.until(pilot, what, ANSWERS_S)


def told(name: str, what: str, measured: int, of: object = "") -> int:
    print(f"{name:<16} {what:<22} 0 {measured}  {of}", flush=True)
    return measured


def tried(folder: Path, name: str) -> int:
    """How many bursts on a screen do not end where a slow typist's keys do."""
    fast, slow = (asyncio.run(repeated(Path(folder, f"{name}-20-{fast}"), name, fast=fast)) for fast in (True, False))
    differing = [key for key, end in slow.items() if fast.get(key) != end]
    stuck = [key for key, end in fast.items() if end is None]
    wrong = told(name, "20 at once", len({*differing, *stuck}), " ".join(differing))
    if name in MIXED:
        hurried, calm = (asyncio.run(mixed(Path(folder, f"{name}-{fast}"), name, fast=fast)) for fast in (True, False))
        wrong += told(name, "fast is not slow", int(hurried != calm))
    return wrong


def keep_still() -> None:
    """Nothing is started, whichever keys are hit, and neither machine nor clipboard is asked for anything.

    Keys wait for as long as it takes: one that a busy machine has lost would say nothing of the app.
    """

    def refuse(*_: object) -> None:
        raise InputError("not in this benchmark")

    nothing = [sys.executable, "-Sc", ""]
    for module, name, value in (
        (run_actions, "_start", refuse),
        (run_actions, "_resume", refuse),
        (actions, "stop", refuse),
        (release, "start", refuse),
        (takeover, "start", refuse),
        (takeover, "start_drill", refuse),
        (takeover, "send", refuse),
        (terminal, "copy_to_tmux", lambda _: False),
        (key_turns, "PATIENCE_S", ANSWERS_S),
        (catalog, "listed", lambda: [Listed(f"gpt-{n}", "openai", 2.5, 10.0, 128_000) for n in range(30)]),
        (outlook, "facts", lambda: outlook.Facts({}, {}, 2**30)),
        (profile, "command", lambda: nothing),
        (presets, "command", lambda: nothing),
        (kinds, "command", lambda _: nothing),
        (preflight, "command", lambda *_: nothing),
    ):
        setattr(module, name, value)


def made(root: Path) -> dict[str, Run]:
    """Runs to list: one that has ended, with all that its screens show, and one that waits."""
    done = data_run.coverage(review_run.rounds(frozen.make(root, "done", "reached", frozen.REACHED)))
    done.report_file.parent.mkdir(parents=True, exist_ok=True)
    done.report_file.write_text("# Report\n\n" + "One more line.\n\n" * 100)
    door = files(done.folder)
    door.folder.mkdir()
    own = Process.of(os.getpid())
    settings = DoorSettings(
        host="127.0.0.1", port=1, key_env=None, local="http://127.0.0.1:1/v1", timeout_s=1.0, compare=0.1, margin=3.0,
        budget_usd=None, contents=True,
    )  # fmt: skip
    jsonl.write_json(door.settings, records.to_row(settings))
    jsonl.write_json(door.state, records.to_row(DoorState(mode=Mode.CANARY, share=0.1, time=1.0)))
    status = DoorStatus(keeper=own, address="http://127.0.0.1:1/v1", door=own)
    jsonl.write_json(door.status, records.to_row(status))
    return {"done": done, "waits": frozen.make(root, "waits", "waiting", frozen.WAITING, 900)}


def app(root: Path, name: str) -> LlamaDuoApp:
    """An app with what the screen needs, and nothing that an earlier one kept, such as a theme."""
    root.mkdir(parents=True)
    os.environ |= {"XDG_STATE_HOME": str(root), "XDG_CONFIG_HOME": str(root)}
    place = PLACES[name]
    runs = made(root) if place.runs else {}
    new_settings()
    return frozen.app(root, runs.get(place.run))


def new_settings() -> None:
    """One settings file, none that keys have saved: in the way of another, that would be asked about."""
    for file in Path().glob("*.toml"):
        file.unlink()
    Path("m.toml").write_text(SETTINGS)


async def opened(pilot: Pilot[Any], shown: LlamaDuoApp, name: str) -> Screen[Any]:
    """Go to a screen from the start, or from wherever keys have led."""
    place = PLACES[name]
    while len(shown.screen_stack) > 1:
        await shown.pop_screen()
        await pilot.pause()
    shown.form = None
    for left in kept._all():
        left.place.unlink()
    new_settings()
    if place.run:
        shown.post_message(messages.OpenRun(Run(shown.root / place.run)))
        await until(
            pilot, lambda: frozen.replayed(shown) and shown.screen.has_class("-answered") is (place.run == "done")
        )
    elif place.edits:
        shown.post_message(messages.Configure(Path("m.toml")))
        await until(pilot, lambda: shown.form is not None and shown.screen is shown.form)
    else:
        await until(pilot, lambda: bool(shown._entries) == place.runs and shown.focused is not None)
        await burst(pilot, "escape", "home")
    await settled(pilot)
    for key in place.keys:
        await burst(pilot, key)
        await pilot.pause()
    assert type(shown.screen).__name__ == place.shows, f"{name} is not reached: {shown.screen}"
    return shown.screen


async def repeated(root: Path, name: str, *, fast: bool) -> dict[str, object]:
    """Where 20 of each key lead, at once or one after the other; None where Escape does not lead back."""
    shown, ends = app(root, name), dict[str, object]()
    async with shown.run_test(size=SIZE) as pilot:
        screen = await opened(pilot, shown, name)
        begin = state(shown)
        own = [key for key, bound in screen.active_bindings.items() if bound.node is not shown]
        for key in dict.fromkeys(key for key in (*COMMON, *own) if key not in LEFT):
            for keys in [[key] * TIMES] if fast else [[key]] * TIMES:
                await burst(pilot, *keys)
            ends[key] = state(shown)
            while shown.screen is not screen and screen in shown.screen_stack:
                above = shown.screen
                await burst(pilot, "escape")
                if shown.screen is above:
                    await burst(pilot, "escape")  # the first one closed a part of it
                if shown.screen is above:
                    ends[key] = None
                if shown.screen is above or isinstance(shown.screen, Ask):  # stuck; or it asks about unsaved settings
                    break
            if shown.screen is not screen or state(shown) != begin:
                screen = await opened(pilot, shown, name)
                begin = state(shown)
    return ends


async def mixed(root: Path, name: str, *, fast: bool) -> list[object]:
    """What a person sees after the mixed keys."""
    shown = app(root, name)
    async with shown.run_test(size=SIZE) as pilot:
        await opened(pilot, shown, name)
        for keys in [MIXED[name]] if fast else [[key] for key in MIXED[name]]:
            await burst(pilot, *keys)
        return state(shown)


# The program in a terminal

PROGRAM = (sys.executable, str(Path(__file__).resolve()), "--program")

BYTES = {
    "down": "\x1b[B", "up": "\x1b[A", "right": "\x1b[C", "left": "\x1b[D", "pagedown": "\x1b[6~", "pageup": "\x1b[5~",
    "home": "\x1b[H", "end": "\x1b[F", "shift+tab": "\x1b[Z", "tab": "\t", "enter": "\r", "space": " ", "slash": "/",
    "equals_sign": "=", "f1": "\x1bOP", "f2": "\x1bOQ", "f3": "\x1bOR", "f4": "\x1bOS", "f6": "\x1b[17~",
}  # fmt: skip
LEADING = BYTES | {"ctrl+p": "\x10"}
ALL = [*BYTES.values(), *"abcdefghijklmnoprstuvwxyzABCDEFGHIJKLMNOPRSTUVWXYZ0123456789.,[]+-=?*"]
HELP = "\x1bOP"
BLINKING = 3000
"""Bytes a second, at most, of a cursor that blinks in a field where nothing else happens."""


def in_terminal(folder: Path, names: Sequence[str]) -> int:
    """How many screens do not take 20 of each key at once in a terminal, and keep what was typed before a hang-up."""
    wrong = 0
    with busy_machine():
        for name in names:
            wrong += told(name, "in a busy terminal", int(not survives(folder, name)))
    if "configure" in names:
        Path("m.toml").write_text(SETTINGS)
        wrong += told("configure", "lost at a hang-up", hung_up(Path("m.toml")))
    return wrong


@contextmanager
def busy_machine() -> Iterator[None]:
    """Two processes a core that do nothing but compute."""
    load = [subprocess.Popen([sys.executable, "-Sc", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in load:
            process.kill()
            process.wait()


def survives(folder: Path, name: str) -> bool:
    """Whether the program still shows its help after 20 of each key on a screen, and shows no traceback."""
    place, root = PLACES[name], folder / f"terminal-{name}"
    os.environ["LLAMADUO_RUNS"] = str(root)
    root.mkdir()
    if place.runs:
        made(root)
    Path("m.toml").write_text(SETTINGS)
    arguments = ["edit", "m.toml"] if place.edits else ["attach", place.run] if place.run else []
    screen = Terminal([*PROGRAM, *arguments])
    try:
        screen.read_until("Configuration" if place.edits else "llamaduo" if not place.run else place.run, ANSWERS_S)
        for key in place.keys:
            screen.press(LEADING.get(key, key))
        screen.press("".join(key * TIMES for key in ALL))
        return answers(screen)
    finally:
        screen.kill()


def answers(screen: Terminal) -> bool:
    """Whether the program opens its help, or closes it, and has shown no traceback."""
    end = time.monotonic() + ANSWERS_S
    while screen.watch(1.0)[0] > BLINKING:  # all that was typed is handled
        if time.monotonic() > end or "Traceback" in screen.last:
            return False
    screen.press(HELP)
    while screen.watch(1.0)[0] <= BLINKING:
        if time.monotonic() > end:
            return False
    return "Traceback" not in screen.last


def hung_up(file: Path) -> int:
    """1 where what was typed before a hang-up is lost."""
    screen = Terminal([*PROGRAM, "edit", str(file)])
    screen.read_until("Configuration", ANSWERS_S)
    screen.press("\rhalf a na")
    screen.read_until("half a na", ANSWERS_S)
    screen.hang_up()
    os.waitpid(screen.pid, 0)
    return int([one.draft()["task", "name"] for one in kept.left(file)] != ["half a na"])


if __name__ == "__main__":
    main()
