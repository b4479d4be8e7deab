"""Themes: those that come with the program, and what is wrong with a user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from frozen import app, until
from textual.theme import Theme

from engine.protocol.errors import InputError
from llamaduo_tui import paths, theming


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
        ('primary = "bluish"', "primary: invalid colour 'bluish'"),
        ("primary = 3", "primary: invalid colour 3"),
        ('primary = "red"\nhue = 1', "unknown key 'hue'"),
        ('primary = "red"\ndark = "yes"', "dark: invalid value 'yes'"),
        ('primary = "red"\n[variables]\nborder = 1', "the values of variables must be text"),
        ('primary = "red"\n[variables]\nboder = "red"', "unknown token 'boder'"),
        ('primary = "red"\n[variables]\nborder = "bluish"', "border: invalid colour 'bluish'"),
        ('primary = "red"\n[variables]\nborder = "red; color: blue"', "border: invalid colour 'red; color: blue'"),
        ('primary = "red"\n[variables]\nborder = "red } * {"', "border: invalid colour 'red } * {'"),
        ('primary = "red"\n[variables]\nblock-cursor-text-style = "loud"', "invalid style 'loud'"),
    ],
)
def test_an_invalid_theme_is_reported(text: str, said: str, tmp_path: Path) -> None:
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
