"""The footer: what fits of the keys that do something, by mouse too."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, OptionList

from llamaduo_tui.widgets.key_bar import KeyBar


class Host(App[None]):
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "Approve", tooltip="Pay for another round"),
        Binding("b", "never", "Never"),
        Binding("c", "not_now", "Not now"),
        Binding("ctrl+d", "add", "The same again"),
        Binding("e", "add(2)", "日本語"),
        Binding("h", "help", "Help"),
    ]
    added = 0

    def compose(self) -> ComposeResult:
        yield KeyBar()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return {"never": False, "not_now": None}.get(action, True)

    def action_add(self, count: int = 1) -> None:
        self.added += count


async def shown(width: int) -> str:
    async with Host().run_test(size=(width, 3)) as pilot:
        await pilot.pause()
        return pilot.app.query_one(KeyBar).render().plain.rstrip()


async def test_keys_that_do_nothing_are_left_out_and_each_action_stands_once() -> None:
    assert await shown(60) == " a Approve   c Not now   e 日本語   h Help"


async def test_what_has_no_room_makes_place_for_the_help() -> None:
    assert await shown(36) == "a Approve c Not now e 日本語 h Help"
    assert await shown(35) == "a Approve c Not now h Help"
    assert await shown(20) == "a Approve h Help"


class Typing(App[None]):
    """A list and a field; the same action has a function key, a combination and a letter."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f3,ctrl+b,b", "preset", "Preset"),
        Binding("f2,ctrl+s", "s", "Save"),
    ]

    def compose(self) -> ComposeResult:
        yield OptionList("one")
        yield Input()
        yield KeyBar()


async def test_where_letters_are_commands_they_are_shown_and_in_a_field_the_keys_that_work_there() -> None:
    async with Typing().run_test(size=(60, 12)) as pilot:
        bar = pilot.app.query_one(KeyBar)
        pilot.app.query_one(OptionList).focus()
        await pilot.pause()
        assert bar.render().plain.split("   ")[:2] == [" b Preset", "f2 Save"]
        pilot.app.query_one(Input).focus()
        await pilot.pause()
        assert bar.render().plain.split("   ")[:2] == [" f3 Preset", "f2 Save"]


async def test_a_click_is_its_key_and_the_mouse_over_it_tells_more() -> None:
    async with Host().run_test(size=(60, 3)) as pilot:
        await pilot.pause()
        bar = pilot.app.query_one(KeyBar)
        await pilot.hover(KeyBar, offset=(3, 0))
        assert bar.tooltip == "Pay for another round"
        await pilot.click(KeyBar, offset=(3, 0))
        await pilot.click(KeyBar, offset=(25, 0))
        await pilot.click(KeyBar, offset=(14, 0))
        await pilot.pause()
        assert isinstance(pilot.app, Host)
        assert pilot.app.added == 3
        await pilot.hover(KeyBar, offset=(55, 0))
        assert bar.tooltip is None
