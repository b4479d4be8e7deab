"""Two answers compared: nothing is lost, and what differs is marked."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaduo_tui.views.diff import Line, Row, fields, json_rows, text_rows, unified

TEXTS = st.lists(st.sampled_from(["the", "red", "fox", " ", "\n", "."]), max_size=40).map("".join) | st.text(
    max_size=60
)


def side(lines: list[Line | None]) -> str:
    return "\n".join("".join(piece.text for piece in line) for line in lines if line is not None)


def changed(line: Line | None) -> list[str]:
    return [piece.text for piece in line or () if piece.changed]


@given(TEXTS, TEXTS)
def test_both_texts_are_whole(left: str, right: str) -> None:
    rows = text_rows(left, right)
    assert side([row.left for row in rows]) == left
    assert side([row.right for row in rows]) == right


@given(TEXTS)
def test_equal_texts_have_no_mark(text: str) -> None:
    assert {row.mark for row in text_rows(text, text)} == {" "}


@given(TEXTS, TEXTS)
def test_different_texts_have_a_mark(left: str, right: str) -> None:
    assert (left == right) == all(row.mark == " " for row in text_rows(left, right))


def test_words_that_differ() -> None:
    [row] = text_rows("the quick brown fox jumps", "the quick red fox jumps")
    assert (row.mark, changed(row.left), changed(row.right)) == ("≠", ["brown"], ["red"])


def test_lines_of_one_side() -> None:
    assert [row.mark for row in text_rows("one\ntwo\nthree", "one\nthree\nfour")] == [" ", "−", " ", "+"]


def test_lines_with_little_in_common_are_marked_whole() -> None:
    [row] = text_rows("yes, of course", "no; 42 whales")
    assert changed(row.left) == ["yes, of course"]


def test_long_texts_keep_what_they_share_at_both_ends() -> None:
    long = ["word"] * 5_000
    [row] = text_rows(" ".join(["a", *long, "b", *long]), " ".join(["a", *long, "c", *long]))
    assert (changed(row.left), changed(row.right)) == (["b"], ["c"])


def test_json_is_compared_field_by_field() -> None:
    rows = json_rows('{"a": {"b": [1, 2]}, "z": null}', '{"y": true, "a": {"b": [1, 3]}}')
    assert rows is not None
    assert [(side([row.left]), row.mark, side([row.right])) for row in rows] == [
        ("a.b[0]  1", " ", "a.b[0]  1"),
        ("a.b[1]  2", "≠", "a.b[1]  3"),
        ("z       null", "−", ""),
        ("", "+", "y       true"),
    ]


def test_values_stand_below_each_other_next_to_wide_names() -> None:
    rows = json_rows('{"件名": 1, "kind": 2}', '{"件名": 1, "kind": 2}')
    assert rows is not None
    assert [side([row.left]) for row in rows] == ["件名  1", "kind  2"]


@pytest.mark.parametrize("text", ["", "12", '"text"', '{"a": 1', "[" * 100_000, "1" * 5_000, "{'a': 1}"])
def test_what_is_no_json_object(text: str) -> None:
    assert fields(text) is None
    assert json_rows('{"a": 1}', text) is None


def test_deep_and_wide_json() -> None:
    deep = "[" * 900 + "]" * 900
    assert json_rows(deep, "[]") is not None
    wide = json.dumps(dict.fromkeys(map(str, range(2_000)), 0))
    rows = json_rows(wide, wide)
    assert rows is not None
    assert "1,500 more fields" in side([rows[-1].left])


def test_a_missing_side_is_a_mark() -> None:
    assert Row(None, ()).mark == "+"
    assert Row((), None).mark == "−"


def test_what_json_escapes_stays_harmless() -> None:
    hostile = json.dumps({"k\x1b\n\u202e": "\x1b]52;c;aGk=\x07\x9b\u202e\u2028\ud800"})
    rows = json_rows(hostile, hostile)
    assert rows is not None
    assert side([rows[0].left]) == 'k␛␤<U+202E>  "\\u001b]52;c;aGk=\\u0007<U+009B><U+202E>␤�"'


@given(TEXTS, TEXTS)
def test_one_column_has_both_texts(left: str, right: str) -> None:
    lines = unified(text_rows(left, right))
    assert side([line for mark, line in lines if mark != "+"]) == left
    assert side([line for mark, line in lines if mark != "−"]) == right


def test_one_column_has_what_was_before_what_is() -> None:
    lines = unified(text_rows("same\none red fox\ntwo\nend", "same\none blue fox\nend\nmore"))
    assert [(mark, side([line])) for mark, line in lines] == [
        (" ", "same"),
        ("−", "one red fox"),
        ("−", "two"),
        ("+", "one blue fox"),
        (" ", "end"),
        ("+", "more"),
    ]
    assert changed(lines[1][1]) == ["red"]
