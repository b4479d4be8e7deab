"""Ticks are at round numbers, at equal distances, and their labels never touch, whatever the range and the room."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaduo_tui.views import axes
from llamaduo_tui.views.axes import APART, Tick


def labels(ticks: list[Tick]) -> list[str]:
    return [tick.label for tick in ticks]


@pytest.mark.parametrize(
    ("low", "high", "most", "shown"),
    [
        (0.3, 3.4, 4, ["1", "2", "3"]),
        (0.0, 2.6, 6, ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]),
        (0.0, 100.0, 6, ["0", "20", "40", "60", "80", "100"]),
        (0.0, 1234.0, 3, ["0", "500", "1,000"]),
        (0.0, 0.001, 3, ["0", "5e-4", "1e-3"]),
        (-1.5, 1.5, 4, ["-1", "0", "1"]),
        (0.91, 0.925, 4, ["0.910", "0.915", "0.920", "0.925"]),
    ],
)
def test_values(low: float, high: float, most: int, shown: list[str]) -> None:
    assert labels(axes.values(low, high, most)) == shown


@pytest.mark.parametrize(
    ("low", "high", "most", "shown"),
    [
        (0.002, 4.0, 5, ["0.01", "0.1", "1"]),
        (0.3, 3.4, 5, ["0.5", "1", "2"]),
        (0.3, 3.4, 20, ["0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1", "2", "3"]),
        (1e-12, 1e12, 4, ["1e-12", "1e-5", "100", "1,000,000,000"]),
        (0.91, 0.93, 5, ["0.910", "0.915", "0.920", "0.925", "0.930"]),
    ],
)
def test_magnitudes(low: float, high: float, most: int, shown: list[str]) -> None:
    assert labels(axes.magnitudes(low, high, most)) == shown


@pytest.mark.parametrize(
    ("high", "columns", "shown"),
    [
        (67, 40, ["0", "10", "20", "30", "40", "50", "60"]),
        (67, 12, ["0", "50"]),
        (3, 80, ["0", "1", "2", "3"]),
        (120_000, 80, ["0", "20,000", "40,000", "60,000", "80,000", "100,000", "120,000"]),
    ],
)
def test_steps_are_whole(high: float, columns: int, shown: list[str]) -> None:
    assert labels(axes.whole(0, high, columns)) == shown


@pytest.mark.parametrize(
    ("high", "columns", "shown"),
    [
        (100, 50, ["0", "30 s", "60 s", "90 s"]),
        (300, 60, ["0", "1 min", "2 min", "3 min", "4 min", "5 min"]),
        (8 * 3600, 60, ["0", "1 h", "2 h", "3 h", "4 h", "5 h", "6 h", "7 h", "8 h"]),
        (2 * 86400, 40, ["0", "12 h", "24 h", "36 h", "48 h"]),
        (7 * 86400, 60, ["0", "1 d", "2 d", "3 d", "4 d", "5 d", "6 d", "7 d"]),
        (70 * 86400, 30, ["0", "20 d", "40 d", "60 d"]),
    ],
)
def test_times(high: float, columns: int, shown: list[str]) -> None:
    assert labels(axes.times(0, high, columns)) == shown


@given(
    low=st.floats(0, 1e5),
    span=st.floats(1e-2, 1e7),
    columns=st.integers(1, 200),
    most=st.integers(1, 40),
)
def test_labels_never_touch_and_ticks_are_at_equal_distances(low: float, span: float, columns: int, most: int) -> None:
    high = low + span
    for found in (axes.whole(low, high, columns), axes.times(low, high, columns)):
        at = axes.placed(found, lambda x: round((x - low) / (high - low) * (columns - 1)), columns)
        for one, other in pairwise(at):
            assert one[1] + len(one[2]) + APART <= other[1]
    for ticks in (axes.values(low, high, most), axes.whole(low, high, columns), axes.times(low, high, columns)):
        gaps = [other.at - one.at for one, other in pairwise(ticks)]
        assert all(gap == pytest.approx(gaps[0]) for gap in gaps)
        slack = (high - low) * 1e-6
        assert all(low - slack <= tick.at <= high + slack for tick in ticks)
    assert len(axes.values(low, high, most)) <= most


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1234.5, "1,234"),
        (63.62, "63.6"),
        (0.9131, "0.913"),
        (0.00025, "2.5e-4"),
        (0, "0"),
        (97, "97"),
        (-3.21, "-3.21"),
    ],
)
def test_values_are_short(value: float, written: str) -> None:
    assert axes.said(value) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")],
)
def test_times_are_words(seconds: float, written: str) -> None:
    assert axes.elapsed(seconds) == written
