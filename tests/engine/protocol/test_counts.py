"""Numbers of things in words."""

from __future__ import annotations

import pytest

from engine.protocol.counts import number_of, plural


@pytest.mark.parametrize(
    ("number", "what", "said"),
    [
        (0, "call", "0 calls"),
        (1, "row", "1 row"),
        (1204, "line", "1,204 lines"),
        (1, "family", "1 family"),
        (2, "reply", "2 replies"),
        (3, "day", "3 days"),
    ],
)
def test_one_thing_is_not_several(number: int, what: str, said: str) -> None:
    assert number_of(number, what) == said


def test_a_unit_has_a_plural() -> None:
    assert [plural(unit) for unit in ("prompt", "conversation", "family")] == ["prompts", "conversations", "families"]
