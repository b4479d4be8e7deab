"""Bursts of keys on every screen: they end where a slow typist would, and never freeze or crash the app."""

from __future__ import annotations

import ast
import asyncio
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import data_run
import frozen
import pytest
import review_run
from frozen import app, make, replayed, until
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static
from typing_fast import burst, send, settled, state

import llamaduo_tui
from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from llamaduo_tui import key_turns, messages, run_actions
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.control import actions
from llamaduo_tui.key_turns import PATIENCE_S, KeyTurns
from llamaduo_tui.screens import compare, configure
from llamaduo_tui.screens.compare import CompareScreen
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.screens.data import DataScreen
from llamaduo_tui.screens.release import ReleaseScreen
from llamaduo_tui.screens.report import ReportScreen
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.screens.takeover import TakeoverScreen
from llamaduo_tui.screens.themes import ThemesScreen
from llamaduo_tui.views import outlook, preflight, presets, profile
from llamaduo_tui.views.draft import Draft
from llamaduo_tui.views.review import Review
from llamaduo_tui.views.watcher import RunWatcher
from llamaduo_tui.widgets.settings_form import SettingsForm

pytestmark = pytest.mark.usefixtures("still_machine")
SETTINGS = '[coverage]\nsource = "rows.jsonl"\n[service]\nmodel = "sandbox"\n'


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
    "runs": [*["down"] * 3, *["slash", "o", "t"], "escape", "up", "n", "escape", "question_mark", "escape"],
    "configure": ["down", "enter", "1", "2", "enter", "pageup", "f4", "x", "escape", "enter", *"my"],
}
"""Keys that move the focus and open dialogs; `bench/bursts.py` sends more, on every screen."""


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


async def test_twenty_of_a_key_at_once_neither_freeze_nor_crash(root: Path) -> None:
    shown = at(root, "configure")
    async with shown.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, shown, "configure")
        for key in ("down", "tab"):
            await burst(pilot, *[key] * 20)
            assert shown.screen is screen
        assert shown.is_running


async def test_tab_enters_the_section_that_keys_have_walked_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its page is made once they rest, and Tab led to a field of the one before."""
    monkeypatch.setattr(configure, "WALKED_S", 1.0)
    shown = at(root, "configure")
    async with shown.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, shown, "configure")
        assert isinstance(screen, ConfigureScreen)
        await burst(pilot, "down", "down")
        await burst(pilot, "home", "home", "tab", *"my")
        assert (screen.query_one(SettingsForm).section, list(screen._editor.draft.edits)) == (
            screen._sections[0],
            [("task", "name")],
        )


async def test_keys_typed_ahead_wait_until_a_screen_has_read_what_they_are_about(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(module: Any, name: str) -> None:
        at_once = getattr(module, name)

        def slow(*args: Any, **options: Any) -> Any:
            time.sleep(0.3)
            return at_once(*args, **options)

        monkeypatch.setattr(module, name, slow)

    monkeypatch.setattr(key_turns, "PATIENCE_S", 60.0)  # this machine may be busy
    slowly(RunWatcher, "poll")
    slowly(Review, "load")
    slowly(compare, "compare")
    for name in ("one", "two"):
        review_run.rounds(make(root, name, "waiting", frozen.WAITING))
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await opened(pilot, shown, "runs")
        await burst(pilot, "enter", "v", "n", "7")
        assert isinstance(shown.focused, Input) and shown.focused.value.endswith("7"), "the form of own scores"
        await burst(pilot, *["escape"] * 4)
        await burst(pilot, "space", "space", "equals_sign", "3", "down", "down")
        assert isinstance(shown.screen, CompareScreen) and shown.screen.query_one(OptionList).highlighted == 2


async def test_no_key_waits_for_a_form_that_was_closed_for_a_run(root: Path) -> None:
    shown = at(root, "runs")
    async with shown.run_test(size=(120, 40)) as pilot:
        await opened(pilot, shown, "configure")
        await burst(pilot, "enter", "x")
        shown.post_message(messages.OpenRun(Run(root / "done")))  # as the palette does
        await until(pilot, lambda: replayed(shown))
        await until(pilot, lambda: not shown._acting and shown.form is None)
        await burst(pilot, "escape")
        shown.pop_screen()  # as a second click on what closed the last screen above
        await settled(pilot)
        assert shown.is_running and len(shown.screen_stack) == 1


async def test_a_page_of_a_list_that_is_not_laid_out_is_not_turned(root: Path) -> None:
    shown = at(root, "runs")
    async with shown.run_test(size=(120, 40)) as pilot:
        await opened(pilot, shown, "runs")
        hidden = OptionList("one", "two")
        hidden.display = False
        await shown.mount(hidden)
        hidden.highlighted = 1
        for action in ("page_down", "page_up"):
            assert await shown.run_action(action, hidden)


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


ON_THEIR_OWN = {
    "runs",
    "review-kinds",
    "presets.look",
    "configure.preflight",
    "configure.preview",
    "configure.keep",
    "door",
}
"""Groups of workers that no key waits for: what they find out is shown when it is there."""


def test_keys_wait_for_each_worker_that_a_key_starts() -> None:
    """An async worker asks a question, or takes what was typed: a key that comes sooner would mean something else."""
    groups = []
    for file in Path(llamaduo_tui.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.AsyncFunctionDef):
                groups += [(file.name, node.name, one) for one in map(group, node.decorator_list) if one is not None]
    asking = [one for one in groups if one[2] == "ASKS"]
    assert len(asking) > 15 and {one[2] for one in groups} == {"ASKS", *ON_THEIR_OWN}, groups


def group(decorator: ast.expr) -> str | None:
    """The group of a worker by its decorator, "" for that of all that name none; None for other decorators."""
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    if not isinstance(call, ast.Name) or call.id != "work":
        return None
    named = {one.arg: one.value for one in decorator.keywords} if isinstance(decorator, ast.Call) else {}
    found = named.get("group")
    return found.id if isinstance(found, ast.Name) else found.value if isinstance(found, ast.Constant) else ""


async def test_a_key_after_delete_answers_its_question_however_slow_the_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = actions.foreign

    def slow(run: Run) -> str:
        time.sleep(0.3)
        return kept(run)

    monkeypatch.setattr(actions, "foreign", slow)
    shown = at(root, "runs")
    async with shown.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, shown, "runs")
        await burst(pilot, "delete", "n")
        assert shown.screen is screen, "n is the answer, and begins no new migration"
        await burst(pilot, "delete", "y")
        await until(pilot, lambda: len(list(root.iterdir())) == 1)


SCREENS: dict[str, Callable[[Run], Screen[Any]]] = {
    "run": RunScreen,
    "review": ReviewScreen,
    "data": lambda run: DataScreen(run, None),
    "release": ReleaseScreen,
    "takeover": TakeoverScreen,
    "compare": lambda run: CompareScreen([run, run]),
    "report": ReportScreen,
    "themes": lambda _: ThemesScreen(),
    "configure": lambda _: ConfigureScreen(Draft.open(Path("m.toml"))),
}


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_may_go_at_any_moment_while_it_comes(root: Path, name: str) -> None:
    """Textual gives a screen that goes while it is built no children, but still mounts it."""
    run = make(root, "done", "reached", frozen.REACHED)
    shown = app(root)
    async with shown.run_test(size=(80, 24)) as pilot:
        for turns in (0, 3):
            shown.push_screen(SCREENS[name](run))
            for _ in range(turns):
                await asyncio.sleep(0)
            await shown.pop_screen()
        await pilot.pause()
        assert len(shown.screen_stack) == 1
        shown.push_screen(SCREENS[name](run))
        await asyncio.sleep(0)
        shown.exit()
        send(shown, ["down", "enter"])  # typed on while the app closes


async def test_all_that_the_shell_waits_for_stops_once_the_terminal_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that has started the app would keep the terminal, with the app stopped."""
    done: list[object] = []
    shown: KeyTurns[None] = KeyTurns()
    async with shown.run_test():
        driver = shown._driver
        monkeypatch.setattr(type(driver), "can_suspend", True)
        monkeypatch.setattr(key_turns.terminal, "shell_waits", lambda: True)
        monkeypatch.setattr(driver, "suspend_application_mode", lambda: done.append("left"))
        monkeypatch.setattr(key_turns.os, "kill", lambda *sent: done.append(sent))
        shown.action_suspend_process()
        assert done == ["left", (0, signal.SIGSTOP)]
        monkeypatch.undo()


class Hiding(KeyTurns[None]):
    """Its key shows a panel, or hides it, by whether it is on the screen; the focus, here or there, tells no layout."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("c", "turn", "Turn")]

    def __init__(self) -> None:
        super().__init__()
        self.found: list[bool] = []

    def compose(self) -> ComposeResult:
        yield Static("a panel", id="panel")

    def action_turn(self) -> None:
        panel = self.query_one("#panel")
        self.found.append(panel.is_on_screen)
        panel.display = not panel.is_on_screen


async def test_a_key_finds_the_screen_laid_out_as_the_key_before_it_left_it() -> None:
    shown = Hiding()
    async with shown.run_test() as pilot:
        await pilot.pause()
        await burst(pilot, *"c" * 20)
    assert shown.found == [True, False] * 10
