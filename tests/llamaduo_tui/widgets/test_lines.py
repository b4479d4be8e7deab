"""A text that is folded: of many lines those from a place on are shown."""

from __future__ import annotations

from textual.content import Content

from llamaduo_tui.widgets.lines import FoldedText, fitting


def shown(count: int, most: int, place: str = "") -> list[str]:
    text = FoldedText()
    text.fold(most, place)
    return [line.plain for line in text.fitted([Content(f"line {n}") for n in range(count)])]


def test_of_many_lines_those_from_a_place_on_are_shown() -> None:
    left_out = "⋯ 17 of 20 lines are left out"
    assert shown(20, 4) == ["line 0", "line 1", "line 2", left_out]
    assert shown(20, 4, "line 7") == ["line 7", "line 8", "line 9", left_out]
    assert shown(20, 4, "line 19") == ["line 17", "line 18", "line 19", left_out]
    assert shown(4, 4, "line 2") == [f"line {n}" for n in range(4)]
    assert shown(20, 0) == [f"line {n}" for n in range(20)]


def test_parts_that_do_not_fit_leave_room_for_an_ellipsis() -> None:
    parts = ["changes", "日本", "kinds"]
    assert fitting(parts, ", ", len("changes, 日本, kinds") + 2) == 3
    assert fitting(parts, ", ", len("changes, 日本, …") + 2) == 2
    assert fitting(parts, ", ", len("changes, 日本, …") + 1) == 1
    assert fitting(parts, ", ", 3) == 0
    assert fitting([], ", ", 0) == 0
