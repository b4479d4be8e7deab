"""What is pasted, or stands in a field, reaches the terminal without anything that it would obey."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.app import ComposeResult
from textual.widgets import Input, TextArea
from typing_fast import burst, paste

import llamaduo_tui
from engine.protocol.terminal import clean
from llamaduo_tui.key_turns import KeyTurns
from llamaduo_tui.screens.edit_value import LinesInput
from llamaduo_tui.widgets.line_input import LineInput

HOSTILE = "a\x1b[31mred\x07\x00b\x9b\u202ec"


class Fields(KeyTurns[None]):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def compose(self) -> ComposeResult:
        yield LineInput("set\x1b[2J\there")
        yield LinesInput("set\x1b[2J\ttoo\x9b")

    def notify(self, message: str, **_: object) -> None:  # type: ignore[override]
        self.told.append(message)

    @property
    def drawn(self) -> str:
        rows = self.screen._compositor.render_strips()
        return "\n".join("".join(strip.text for strip in row) for row in rows)


async def test_control_characters_are_left_out_of_a_paste_with_a_word() -> None:
    app = Fields()
    async with app.run_test(size=(60, 20)) as pilot:
        for wanted in (Input, TextArea):
            field = app.query_one(wanted)
            field.focus()
            field.clear()
            await paste(pilot, HOSTILE)
            await burst(pilot, "d")
            value = field.value if isinstance(field, Input) else field.text
            assert value == "a[31mredbcd"
        assert app.told == ["5 control characters of the pasted text left out"] * 2
        app.told.clear()
        await paste(pilot, "\tone\r\ntwo\rthree\n")
        assert app.query_one(TextArea).text.endswith("\tone\ntwo\nthree\n") and app.told == []


async def test_of_a_long_paste_the_beginning_is_kept_with_a_word() -> None:
    app = Fields()
    async with app.run_test(size=(60, 20)) as pilot:
        field = app.query_one(Input)
        field.focus()
        field.clear()
        await paste(pilot, "ab\x1b" * 60_000)
        await burst(pilot, "d")
        assert field.value == "ab" * 50_000 + "d"
        left_out = "60,000 control characters and all after 100,000 of 120,000 characters"
        assert app.told == [f"{left_out} of the pasted text left out"]


async def test_values_with_control_characters_stay_and_are_drawn_as_signs() -> None:
    app = Fields()
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.pause()
        assert "set␛[2J␉here" in app.drawn and "set␛[2J" in app.drawn and "too\ufffd" in app.drawn
        assert clean(app.drawn) == app.drawn
        assert app.query_one(Input).value == "set\x1b[2J\there"
        assert app.query_one(TextArea).text == "set\x1b[2J\ttoo\x9b"


async def test_what_was_copied_in_the_app_is_pasted_as_one_line() -> None:
    app = Fields()
    async with app.run_test(size=(60, 20)) as pilot:
        field = app.query_one(Input)
        field.focus()
        field.clear()
        app.copy_to_clipboard("one\ntwo \x1b[2J")
        await burst(pilot, "ctrl+v", "!")
        assert field.value == "one two [2J!" and app.told == ["2 lines are pasted as one"]


@pytest.mark.parametrize("count", [100_000])
async def test_a_long_paste_is_taken_whole(count: int) -> None:
    app = Fields()
    async with app.run_test(size=(60, 20)) as pilot:
        field = app.query_one(Input)
        field.focus()
        field.clear()
        await paste(pilot, "x" * count)
        await burst(pilot, *"abc")
        assert field.value == "x" * count + "abc"


def test_no_field_draws_what_it_holds_as_it_is() -> None:
    """Textual's own fields pass a value with control codes on to the terminal."""
    assert not list(fields())


def fields() -> Iterator[str]:
    """Where the app makes one of Textual's own fields."""
    for file in Path(llamaduo_tui.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Input", "TextArea"):
                yield f"{file.name}:{node.lineno}"
