"""Rows of a list: one that is too long ends in an ellipsis."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.app import App, ComposeResult

from llamaduo_tui.widgets.row_list import RowList


class Words(RowList[str]):
    def same(self, item: str, other: str) -> bool:
        return item == other

    def cells(self, item: str, base: Style) -> list[Segment]:
        return [Segment(item, base)]


class Host(App[None]):
    def compose(self) -> ComposeResult:
        yield Words()


async def test_a_row_without_room_ends_in_an_ellipsis() -> None:
    async with Host().run_test(size=(12, 3)) as pilot:
        words = pilot.app.query_one(Words)
        words.show(["ten cells.", "eleven cells"])
        await pilot.pause()
        assert words.render_line(0).text == "▸ ten cells."
        assert words.render_line(1).text == "  eleven ce…"


async def test_the_ellipsis_stands_beside_the_scrollbar() -> None:
    async with Host().run_test(size=(12, 3)) as pilot:
        words = pilot.app.query_one(Words)
        words.show(["eleven cells"] * 4)
        await pilot.pause()
        assert words.render_line(0).text == "▸ eleven c…"
