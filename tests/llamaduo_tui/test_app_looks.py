"""How the screens look, on small and large terminals; themes and keys of the user's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import frozen
import pytest
from frozen import app, make, some, until
from textual.pilot import Pilot
from textual.theme import Theme
from textual.widgets import Log, OptionList

from engine.protocol.errors import InputError
from llamaduo_tui import keymap, paths, theming
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.views import machine
from llamaduo_tui.views.machine import Gpu, Machine
from llamaduo_tui.widgets.charts import Charts

SIZES = [(80, 24), (120, 40)]
Snap = Callable[..., bool]


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    gpus = (Gpu(97.0, 31 * 1024**3, 80 * 1024**3),)
    monkeypatch.setattr(machine, "sample", lambda: Machine(42.0, 8 * 1024**3, 24 * 1024**3, gpus))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def listed(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: pilot.app.query_one(OptionList).option_count > 0 or pilot.app.screen.has_class("-empty"))


async def drawn(pilot: Pilot[None]) -> None:
    """Until the run is replayed, its charts are drawn and its machine was looked at."""

    def done() -> bool:
        screen = pilot.app.screen
        if not isinstance(screen, RunScreen) or not screen.query_one(Log).lines:
            return False
        charts = screen.query_one(Charts)
        return charts.has_class("-drawn") or not screen.view.sections or not charts.display

    await until(pilot, done)
    await until(pilot, lambda: not any(w.group == "default" and w.is_running for w in pilot.app.workers))
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
def test_runs(size: tuple[int, int], root: Path, snap_compare: Snap) -> None:
    some(root)
    assert snap_compare(app(root), terminal_size=size, run_before=listed)


def test_no_runs(root: Path, snap_compare: Snap) -> None:
    assert snap_compare(app(root), terminal_size=(80, 24), run_before=listed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["summaries", "tickets", "naïve-日本語"])
def test_run(name: str, size: tuple[int, int], root: Path, snap_compare: Snap) -> None:
    assert snap_compare(app(root, some(root)[name]), terminal_size=size, run_before=drawn)


@pytest.mark.parametrize("size", SIZES)
def test_runs_without_colour(
    size: tuple[int, int], root: Path, snap_compare: Snap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    some(root)
    assert snap_compare(app(root), terminal_size=size, run_before=listed)


@pytest.mark.parametrize("size", SIZES)
def test_run_without_colour(
    size: tuple[int, int], root: Path, snap_compare: Snap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(app(root, some(root)["tickets"]), terminal_size=size, run_before=drawn)


@pytest.mark.parametrize("theme", ["paper", "contrast", "okabe", "sixteen"])
def test_theme(theme: str, root: Path, snap_compare: Snap) -> None:
    shown = app(root, some(root)["tickets"])
    shown.theme = theme
    assert snap_compare(shown, terminal_size=(120, 40), run_before=drawn)


def test_five_themes_come_with_the_program(tmp_path: Path) -> None:
    themes, problems = theming.load(tmp_path / "none")
    assert not problems
    assert {theme.name for theme in themes} >= {"dusk", "paper", "contrast", "okabe", "sixteen"}
    assert {theme.dark for theme in themes} == {True, False}
    for file in (Path(theming.__file__).parent / "themes").iterdir():
        theming.parse(file)


@pytest.mark.parametrize(
    "text, said",
    [
        ("primary = ", "Invalid value"),
        ('name = "x"', "primary is required"),
        ('primary = "bluish"', "primary: 'bluish' is no colour"),
        ("primary = 3", "primary: 3 is no colour"),
        ('primary = "red"\nhue = 1', "unknown key 'hue'"),
        ('primary = "red"\ndark = "yes"', "dark: 'yes' has the wrong form"),
        ('primary = "red"\n[variables]\nborder = 1', "variables: their values are text"),
        ('primary = "red"\n[variables]\nboder = "red"', "unknown token 'boder'"),
        ('primary = "red"\n[variables]\nborder = "bluish"', "border: 'bluish' is no colour"),
        ('primary = "red"\n[variables]\nborder = "red; color: blue"', "border: 'red; color: blue' is no colour"),
        ('primary = "red"\n[variables]\nborder = "red } * {"', "border: 'red } * {' is no colour"),
        ('primary = "red"\n[variables]\nblock-cursor-text-style = "loud"', "'loud' is no style"),
    ],
)
def test_a_bad_theme_is_told(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError, match=r"theme mine\.toml") as caught:
        theming.parse(tmp_path / "mine.toml")
    assert said in caught.value.message


async def test_a_users_theme_is_there_and_a_bad_one_is_a_toast(root: Path) -> None:
    folder = paths.config_dir() / "themes"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('primary = "#ff0000"\n')
    (folder / "bad.toml").write_text("primary = 1")
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: any("theme bad.toml" in note.message for note in shown._notifications))
        assert isinstance(shown.get_theme("mine"), Theme)
        shown.theme = "mine"
        await pilot.pause()


async def test_keys_can_be_bound_anew(root: Path) -> None:
    paths.config_dir().mkdir(parents=True)
    (paths.config_dir() / "keys.toml").write_text('"run.back" = "f9"\n')
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: isinstance(shown.screen, RunScreen))
        await pilot.press("escape")
        assert isinstance(shown.screen, RunScreen)
        await pilot.press("f9")
        assert not isinstance(shown.screen, RunScreen)


async def test_a_bad_line_of_the_keys_is_a_toast_and_the_others_count(root: Path) -> None:
    paths.config_dir().mkdir(parents=True)
    lines = ['"run.aprove" = "f9"', '"app.quit" = "hyperspace"', '"app.theme" = 3', '"runs.new" = "ctrl+f9"']
    (paths.config_dir() / "keys.toml").write_text("\n".join(lines))
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(shown._notifications) == 3)
        told = "\n".join(note.message for note in shown._notifications)
        assert "did you mean 'run.approve'?" in told
        assert "app.quit: 'hyperspace' is no key" in told
        assert "app.theme: 3 is no key" in told
        assert "ctrl+f9" in shown.screen.active_bindings


def test_a_binding_that_loses_its_key_to_another_is_told(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('"runs.new" = "f3,/"\n"run.pause" = "u"\n"run.go_on" = "u"\n')
    _, problems = keymap.load(file)
    assert [problem.message for problem in problems] == ["keys.toml: runs.search has lost its key 'slash' to runs.new"]


def test_the_listing_of_keys_is_a_keys_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(keymap.listing())
    assert keymap.load(file) == ({}, [])
    file.write_text("\n".join(line.removeprefix("#") for line in keymap.listing().splitlines()[1:]))
    keys, problems = keymap.load(file)
    assert not problems
    assert set(keys) == set(keymap.ids())


def test_every_binding_has_an_id_a_description_and_a_tooltip() -> None:
    from textual.binding import Binding

    from llamaduo_tui.app import LlamaDuoApp
    from llamaduo_tui.screens.confirm import ConfirmScreen
    from llamaduo_tui.screens.runs import RunsScreen
    from llamaduo_tui.widgets.log_view import LogView

    ids = keymap.ids()
    for cls in (LlamaDuoApp, RunsScreen, RunScreen, LogView, ConfirmScreen):
        for binding in cls.__dict__["BINDINGS"]:
            assert isinstance(binding, Binding)
            assert binding.id in ids
            assert binding.description
            assert binding.tooltip
    does = {binding.id: binding.action for binding in keymap.bindings()}
    assert all(does[binding.id] == binding.action for binding in keymap.bindings()), "one id, one act"
    assert {"review.agree", "configure.save", "dialog.cancel"} <= set(ids)
