"""How the charts of a page are looked at: which of them, from where to where, and where their values are read."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from llamaduo_tui.views.chart_data import Figure, Point
from llamaduo_tui.views.plot import Line, Look, draw, lay_out

WIDE, HIGH = 48, 8
"""Columns and lines that a chart needs next to or above another."""

GUTTER = 2
ZOOM = 0.5
JUMPS = 10
"""How often a jump fits into what is shown."""


class Cell(NamedTuple):
    """A chart's place: its number, and its part of the pane."""

    number: int
    x: int
    y: int
    width: int
    height: int


class Grid(msgspec.Struct, frozen=True):
    """The figures of a page and the reader's place in them: the chosen one, the logarithmic ones, an x, a range of x.

    `alone` shows no other chart than the chosen one.
    """

    figures: tuple[Figure, ...] = ()
    chosen: int = 0
    log: frozenset[str] = frozenset()
    at: float | None = None
    window: Point | None = None
    alone: bool = False

    @property
    def figure(self) -> Figure | None:
        """The chosen figure."""
        return self.figures[self.chosen] if self.chosen < len(self.figures) else None

    def look(self, figure: Figure) -> Look:
        return Look(figure.name in self.log, self.at, self.window)

    def having(self, figures: tuple[Figure, ...]) -> Grid:
        """The same place in newer figures."""
        return replace(self, figures=figures, chosen=min(self.chosen, max(0, len(figures) - 1)))

    def choose(self, step: int) -> Grid:
        """The next chart, or one before; after the last comes the first."""
        return replace(self, chosen=(self.chosen + step) % max(1, len(self.figures)))

    def scaled(self) -> Grid:
        """The chosen chart with a logarithmic axis, or again with a linear one; one with fixed ends has none."""
        figure = self.figure
        if figure is None or figure.low is not None:
            return self
        return replace(self, log=self.log ^ {figure.name})

    def move(self, points: int) -> Grid:
        """Read so many points further on; behind the last one, the newest is followed."""
        places = self._places
        if not places:
            return self
        here = len(places) - 1 if self.at is None else bisect.bisect_left(places, self.at)
        there = here + points
        return self.read(places[max(0, there)] if there < len(places) else None)

    def jump(self, direction: int) -> Grid:
        """Read a tenth of what is shown further on."""
        return self.move(direction * max(1, len(self._places) // JUMPS))

    def first(self) -> Grid:
        """Read the first point that is shown."""
        places = self._places
        return self.read(places[0]) if places else self

    def read(self, at: float | None) -> Grid:
        """Read at an x, None for the newest; a range that does not have it moves there."""
        ends = self.window
        if ends is None or at is None or ends[0] <= at <= ends[1]:
            return replace(self, at=at, window=None if at is None else ends)
        half = (ends[1] - ends[0]) / 2
        return replace(self, at=at, window=self._within(at - half, at + half))

    def nearest(self, x: float) -> Grid:
        """Read the point that is nearest to an x."""
        places = self._places
        return self.read(min(places, key=lambda place: abs(place - x))) if places else self

    def zoom(self, direction: int) -> Grid:
        """Half of what is shown, around the place that is read, or twice as much; all of it at last."""
        whole = self._whole()
        if whole is None or (self.figure is not None and self.figure.labels):  # a few places with names
            return self
        low, high = self.window or whole
        middle = self.at if self.at is not None else high
        half = (high - low) * (ZOOM if direction > 0 else 1 / ZOOM) / 2
        least = (whole[1] - whole[0]) / max(1, len(self._places))
        if direction > 0 and half < least:
            return self
        return replace(self, window=self._within(middle - half, middle + half))

    def only(self) -> Grid:
        """Only the chosen chart, or all again."""
        return replace(self, alone=not self.alone and len(self.figures) > 1)

    def whole(self) -> Grid:
        """All of it again."""
        return replace(self, window=None)

    def cells(self, width: int, height: int) -> list[Cell]:
        """Where charts are drawn: as many as have room, the chosen one among them."""
        count = len(self.figures)
        if count == 0:
            return []
        rows_fit, columns_fit = max(1, height // HIGH), max(1, (width + GUTTER) // (WIDE + GUTTER))
        if self.alone or rows_fit * columns_fit == 1:
            return [Cell(self.chosen, 0, 0, width, height)]
        columns = min(columns_fit, -(-count // rows_fit))
        rows = min(rows_fit, -(-count // columns))
        fit = min(count, rows * columns)
        first = min(max(0, self.chosen - fit + 1), count - fit)
        found = []
        for place in range(fit):
            row, column = divmod(place, columns)
            in_row = min(columns, fit - row * columns)
            each = (width - GUTTER * (in_row - 1)) // in_row
            y = row * height // rows
            found.append(Cell(first + place, column * (each + GUTTER), y, each, (row + 1) * height // rows - y))
        return found

    def drawn(self, width: int, height: int) -> list[Line]:
        """All charts that have room, as lines of the pane."""
        lines: list[Line] = [[] for _ in range(height)]
        cells = self.cells(width, height)
        for cell in cells:
            figure = self.figures[cell.number]
            chosen = cell.number == self.chosen and len(self.figures) > 1
            for y, line in enumerate(draw(figure, self.look(figure), cell.width, cell.height, chosen)):
                into = lines[cell.y + y]
                used = sum(len(text) for text, _ in into)
                if cell.x > used:
                    into.append((" " * (cell.x - used), ""))
                into += line
        return lines

    def pointed(self, x: int, y: int, width: int, height: int) -> Grid:
        """The chart at a place of the pane chosen, and read there."""
        for cell in self.cells(width, height):
            if cell.x <= x < cell.x + cell.width and cell.y <= y < cell.y + cell.height:
                figure = self.figures[cell.number]
                chosen = replace(self, chosen=cell.number)
                frame = lay_out(figure, self.look(figure), cell.width, cell.height)
                return chosen if frame is None else chosen.nearest(frame.at(x - cell.x))
        return self

    @property
    def _places(self) -> Sequence[float]:
        """The points that can be read: those of the chosen chart."""
        return self.figure.places if self.figure is not None else []

    def _whole(self) -> Point | None:
        places = self._places
        return (places[0], places[-1]) if places and places[-1] > places[0] else None

    def _within(self, low: float, high: float) -> Point | None:
        """A range, moved and cut so that it is within all; None for all of it."""
        whole = self._whole()
        if whole is None or high - low >= whole[1] - whole[0]:
            return None
        moved = max(whole[0] - low, 0.0) + min(whole[1] - high, 0.0)
        return low + moved, high + moved
