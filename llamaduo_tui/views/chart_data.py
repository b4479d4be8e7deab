"""What a chart shows: series of points with their names, and the values at a place or as a table."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from llamaduo_tui.views import axes
from llamaduo_tui.views.axes import Tick

Point = tuple[float, float]

COLOURS = ("$text-primary", "$text-warning", "$text-success", "$text-accent", "$text-error", "$text-secondary")
MARKS = "123456789abcdefghijklmnopqrstuvwxyz"
"""What tells series apart without colours."""


class Series(msgspec.Struct, frozen=True):
    """Points by their x, without others than finite ones, and the cell that marks them.

    `line` connects them, and `mark` is at the last one; without it each point has one. `bounds` are a low and a high
    end for each point. Nothing connects points that are further apart than `gap`. `brief` is left out of the legend.
    `values` are what is said of the points, where some are drawn at the chart's edge.
    """

    name: str
    points: tuple[Point, ...]
    mark: str
    colour: str
    line: bool = True
    bounds: tuple[Point, ...] = ()
    gap: float = math.inf
    brief: bool = False
    values: tuple[float, ...] = ()

    def value(self, place: int) -> float:
        """What is said of a point."""
        return self.values[place] if self.values else self.points[place][1]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What a chart shows: the newest series last. `low` and `high` are the ends of y, where they are not the values'.

    `labels` are ticks of x that are given, `goal` a level of y to reach, with its name; `none` is said where there are
    no points.
    """

    name: str
    unit: str
    x: Literal["step", "round", "time", "comparison"]
    series: tuple[Series, ...]
    low: float | None = None
    high: float | None = None
    goal: float | None = None
    goal_name: str = "target"
    labels: tuple[Tick, ...] = ()
    note: str = ""
    none: str = ""

    @property
    def places(self) -> list[float]:
        """All x, in order."""
        return sorted({x for series in self.series for x, _ in series.points})

    @property
    def newest(self) -> float | None:
        """The x of the newest series' last point."""
        return next((series.points[-1][0] for series in reversed(self.series) if series.points), None)

    def place(self, at: float) -> str:
        """An x in words: "step 48", "round 2", "after 12 min"."""
        if self.x == "time":
            return f"after {axes.elapsed(at)}"
        named = next((tick.label for tick in self.labels if tick.at == at), f"{at:,.0f}")
        return named if not named[:1].isdecimal() else f"{self.x} {named}"


def read(figure: Figure, at: float) -> Iterator[tuple[Series, float, int]]:
    """The newest series first: each with its last point up to an x, as that point's x and place among all.

    A line that has ended before has no value there.
    """
    for series in reversed(figure.series):
        place = bisect.bisect_right([x for x, _ in series.points], at) - 1
        ended = series.line and series.points and at > series.points[-1][0]
        if place >= 0 and not ended and at - series.points[place][0] <= series.gap:
            yield series, series.points[place][0], place


def table(figure: Figure) -> str:
    """A chart's values as CSV: a line for each x, a column for each series."""
    values = [{x: one.value(place) for place, (x, _) in enumerate(one.points)} for one in figure.series]
    names = [figure.x, *(series.name.replace(",", " ") for series in figure.series)]
    rows = [[f"{x:g}", *(f"{one[x]:g}" if x in one else "" for one in values)] for x in figure.places]
    return "".join(f"{','.join(row)}\n" for row in [names, *rows])
