"""The course of a canary as charts: the difference with its bounds and threshold; the share that these allow."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from llamaduo_tui.views.chart_data import COLOURS, Figure, Series
from llamaduo_tui.views.takeover import Standpoint

FLOOR, CEILING = -30.0, 15.0
"""Points between which the difference is drawn at most: at the start its bounds are as far apart as scores can be."""


def figures(course: Sequence[Standpoint], margin: float) -> tuple[Figure, Figure]:
    """The difference of both sides' scores in points, and the share in per cent, over the comparisons so far."""
    settled = course[len(course) // 4 :]
    floor = max(FLOOR, min([-2 * margin, *(point.low for point in settled)]))
    ceiling = min(CEILING, max([2 * margin, *(point.high for point in settled)]))

    def line(name: str, values: Sequence[float], mark: str, colour: str, brief: bool = False) -> Series:
        points = tuple((float(point.compared), value) for point, value in zip(course, values, strict=True))
        return Series(name, points, mark, colour, brief=brief)

    def within(name: str, values: Sequence[float], mark: str, colour: str, brief: bool = False) -> Series:
        drawn = line(name, [min(ceiling, max(floor, value)) for value in values], mark, colour, brief)
        return replace(drawn, values=tuple(values))

    difference = Figure(
        name="difference",
        unit="points",
        x="comparison",
        series=(
            within("low", [point.low for point in course], "l", COLOURS[5]),
            within("high", [point.high for point in course], "h", COLOURS[5], brief=True),
            within("mean", [point.mean for point in course], "m", COLOURS[0]),
        ),
        low=floor,
        high=ceiling,
        goal=-margin,
        goal_name="threshold",
    )
    share = Figure(
        name="share",
        unit="%",
        x="comparison",
        series=(
            line("allowed by the bounds", [100 * point.allowed(margin) for point in course], "a", COLOURS[5]),
            line("share", [100 * point.share for point in course], "s", COLOURS[0]),
        ),
        low=0.0,
        high=100.0,
    )
    return difference, share
