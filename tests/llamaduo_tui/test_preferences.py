"""The theme is tried, saved and found again; bell and title are the user's choice."""

from __future__ import annotations

from pathlib import Path

import pytest
from frozen import WAITING, app, make, until
from textual.widgets import OptionList

from engine.protocol.errors import InputError
from engine.protocol.status import State
from llamaduo_tui import paths, preferences
from llamaduo_tui.preferences import Preferences
from llamaduo_tui.screens.themes import ThemesScreen


def test_without_a_file_the_defaults_count(tmp_path: Path) -> None:
    assert preferences.load(tmp_path / "none.toml") == Preferences()


@pytest.mark.parametrize(
    "text, said",
    [
        ("theme = ", "Invalid value"),
        ("theme = 1", "theme must be text, not 1"),
        ('bell = "loud"', "bell must be true or false, not 'loud'"),
        ("title = 1", "title must be true or false, not 1"),
        ("bel = true", "unknown key 'bel'"),
    ],
)
def test_an_invalid_file_is_reported(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"settings\.toml") as caught:
        preferences.load(file)
    assert said in caught.value.message


def test_saving_a_theme_keeps_the_rest_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "settings.toml"
    preferences.save_theme(file, "paper")
    assert preferences.load(file) == Preferences(theme="paper")
    file.write_text('# mine\nbell = false  # at night\ntheme = "paper"\n')
    preferences.save_theme(file, "okabe")
    assert file.read_text() == '# mine\nbell = false  # at night\ntheme = "okabe"\n'


def test_an_invalid_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("theme = ")
    with pytest.raises(InputError, match="not saved"):
        preferences.save_theme(file, "paper")
    assert file.read_text() == "theme = "


async def test_the_theme_under_the_cursor_is_used_and_escape_restores_the_old_one(root: Path) -> None:
    shown = app(root)
    async with shown.run_test() as pilot:
        await pilot.press("T")
        await until(
            pilot, lambda: isinstance(shown.screen, ThemesScreen) and shown.screen.query_one(OptionList).has_focus
        )
        await pilot.press("down")
        await until(pilot, lambda: shown.theme == "okabe")
        await pilot.press("escape")
        await until(pilot, lambda: shown.theme == "dusk")
        assert not paths.preferences_file().exists()


async def test_a_chosen_theme_is_there_after_a_new_start(root: Path) -> None:
    folder = paths.config_dir() / "themes"
    shown = app(root)
    async with shown.run_test() as pilot:
        folder.mkdir(parents=True)
        (folder / "mine.toml").write_text('primary = "#ff0000"\n')
        await pilot.press("T")
        await until(
            pilot, lambda: isinstance(shown.screen, ThemesScreen) and shown.screen.query_one(OptionList).has_focus
        )
        await pilot.press("down", "up", "up", "down", "end", "home")
        options = shown.screen.query_one(OptionList)
        options.highlighted = next(n for n in range(options.option_count) if "mine" in str(options.options[n].prompt))
        await until(pilot, lambda: shown.theme == "mine")
        await pilot.press("enter")
        await until(pilot, lambda: paths.preferences_file().exists())
    assert app(root).theme == "mine"


async def test_a_theme_that_is_gone_is_a_toast(root: Path) -> None:
    paths.config_dir().mkdir(parents=True)
    paths.preferences_file().write_text('theme = "gone"\n')
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: any("unknown theme 'gone'" in note.message for note in shown._notifications))
        assert shown.theme == "dusk"


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_bell_rings_for_a_run_that_waits_if_wanted(
    wanted: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.config_dir().mkdir(parents=True)
    paths.preferences_file().write_text(f"bell = {str(wanted).lower()}\ntitle = false\n")
    rung: list[bool] = []
    run = make(root, "tickets", "running", WAITING[:-1])
    shown = app(root)
    monkeypatch.setattr(shown, "bell", lambda: rung.append(True))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: shown.screen.query_one(OptionList).option_count > 0)
        shown.announce(run, State.WAITING)
        assert bool(rung) is wanted
        assert shown.title == "llamaduo"
