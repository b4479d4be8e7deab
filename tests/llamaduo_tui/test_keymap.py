"""The user's own keys: which ids there are, and what is wrong with a line of keys.toml."""

from __future__ import annotations

from pathlib import Path

import frozen
from frozen import app, make, until
from textual.dom import DOMNode

from llamaduo_tui import keymap, paths
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.run import RunScreen


async def test_a_key_can_be_rebound(root: Path) -> None:
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
        assert "app.quit: invalid key 'hyperspace'" in told
        assert "app.theme: invalid key 3" in told
        assert "ctrl+f9" in shown.screen.active_bindings


def test_a_key_that_another_binding_has_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('"runs.new" = "f3,/"\n"run.pause" = "u"\n"run.go_on" = "u"\n')
    _, problems = keymap.load(file, LlamaDuoApp)
    assert [problem.message for problem in problems] == ["keys.toml: runs.new takes the key 'slash' of runs.search"]


def test_the_listing_of_keys_is_a_keys_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(keymap.listing(LlamaDuoApp))
    assert keymap.load(file, LlamaDuoApp) == ({}, [])
    file.write_text("\n".join(line.removeprefix("#") for line in keymap.listing(LlamaDuoApp).splitlines()[1:]))
    keys, problems = keymap.load(file, LlamaDuoApp)
    assert not problems
    assert set(keys) == set(keymap.ids(LlamaDuoApp))


def test_every_class_with_bindings_is_found() -> None:
    ids = keymap.ids(LlamaDuoApp)
    classes: list[type[DOMNode]] = [DOMNode]
    for cls in classes:
        classes += [child for child in cls.__subclasses__() if child not in classes]
        if cls.__module__.startswith("llamaduo_tui"):
            assert all(binding.id in ids for binding in cls.__dict__.get("BINDINGS", ())), cls
    assert {"app.quit", "review.agree", "configure.save", "dialog.cancel", "log.search"} <= set(ids)


def test_every_binding_has_an_id_a_description_and_a_tooltip() -> None:
    bindings = list(keymap.bindings(LlamaDuoApp))
    assert all(binding.id and binding.description and binding.tooltip for binding in bindings)
    does = {binding.id: binding.action for binding in bindings}
    assert all(does[binding.id] == binding.action for binding in bindings), "one id, one act"


def test_every_function_key_has_another_one() -> None:
    """Many terminals keep F1, F10 and others for themselves."""
    function_keys = {f"f{number}" for number in range(1, 25)}
    for binding in keymap.bindings(LlamaDuoApp):
        keys = set(binding.key.split(","))
        assert keys - function_keys, binding.id
