from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.formats import values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('[{"a": 1}]', [{"a": 1}]),
        (' {"a": null}', {"a": None}),
        ("[{'role': 'user', 'content': None}]", [{"role": "user", "content": None}]),
        ("[{'a': __import__('os')}]", "[{'a': __import__('os')}]"),
        ("[{'a': " + "[" * 5000, "[{'a': " + "[" * 5000),
        ("[" * 100_000, "[" * 100_000),
        ("1", "1"),
        ("null", "null"),
        ("{", "{"),
        (3, 3),
    ],
)
def test_only_lists_and_objects_in_text_are_parsed(value: Any, expected: Any) -> None:
    assert values.parsed(value) == expected


@given(st.text())
def test_no_text_breaks_parsing(text: str) -> None:
    values.parsed(text)
    values.parsed("[{'" + text)
    values.unquoted(f'"{text}"')


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b", (True, 1)),
        ("a.c", (False, None)),
        ("text.x.y", (True, [2])),
        ("text.x.y.0", (True, 2)),
        ("dotted.name", (True, 3)),
        ("none.x", (False, None)),
    ],
)
def test_paths_lead_into_objects_lists_and_text(path: str, expected: tuple[bool, Any]) -> None:
    record = {"a": {"b": 1}, "text": '{"x": {"y": [2]}}', "dotted.name": 3, "none": None}
    assert values.at(record, path) == expected


@pytest.mark.parametrize("value", [None, False, float("nan"), "", " ", "null", "None", "NaN", "[]", {}, [], 0])
def test_nothing_has_many_spellings(value: Any) -> None:
    assert values.is_nothing(value)


@pytest.mark.parametrize("value", ["no", "x", 1, True, [0], {"a": None}])
def test_something_is_something(value: Any) -> None:
    assert not values.is_nothing(value)
