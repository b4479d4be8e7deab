"""Points of a score, in words."""

from __future__ import annotations

import pytest

from engine.protocol.points import points


@pytest.mark.parametrize("number, words", [(1.0, "1 point"), (2, "2 points"), (0.5, "0.5 points"), (0.0, "0 points")])
def test_one_point_is_no_points(number: float, words: str) -> None:
    assert points(number) == words
