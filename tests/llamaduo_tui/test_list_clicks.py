"""Clicks on lines of a list that changes meanwhile."""

from __future__ import annotations

import pytest
from rich.style import Style
from textual.app import App, ComposeResult
from textual.events import Click
from textual.widgets import OptionList

from llamaduo_tui import list_clicks


class Listed(App[None]):
    def compose(self) -> ComposeResult:
        yield OptionList("one", "two", "three")


@pytest.mark.parametrize(("line", "highlighted"), [(1, 1), (2, None)])
async def test_a_click_on_a_line_that_is_gone_does_nothing(line: int, highlighted: int | None) -> None:
    list_clicks.miss_what_is_gone()
    app = Listed()
    async with app.run_test() as pilot:
        listed = app.query_one(OptionList)
        listed.set_options(["one", "two"])
        listed.highlighted = None
        style = Style(meta={"option": line})
        listed.post_message(Click(listed, 1, line, 0, 0, 1, False, False, False, style=style))
        await pilot.pause()
        assert app.is_running and listed.highlighted == highlighted
