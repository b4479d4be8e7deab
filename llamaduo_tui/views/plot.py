"""One chart as text: its series over an axis, with ticks at round numbers and the values at a place.

Nothing here knows a terminal's library: a chart is lines of runs, each a text and the name of a style.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llamaduo_tui.views import axes
from llamaduo_tui.views.axes import Tick, said
from llamaduo_tui.views.chart_data import Figure, Point, Series, read
from llamaduo_tui.views.raster import ACROSS, DOWN, Raster

Run = tuple[str, str]
Line = list[Run]

MUTED, QUIET, GOAL = "$foreground-muted", "$border-blurred", "$text-warning"
NEWEST = ", newest"

TALL, LOW, LEAST = 10, 6, 3
"""Lines from which on a chart has an axis, labels below it, and the values at a place."""

DIGITS = 4
"""Of what training measures, in which small differences count."""

LEAST_LOG = 1e-100
"""Smaller values have no place on a logarithmic axis."""

ROOM = 0.04
"""Of the axis, kept free above and below the values."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a chart is looked at: logarithmic or not, at an x (None: the newest), from which x to which (None: all)."""

    log: bool = False
    at: float | None = None
    window: Point | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """The place of a chart's parts in its cells, and its axes."""

    left: int
    columns: int
    rows: int
    x: Point
    y: Point
    log: bool
    ticks: tuple[Tick, ...]

    def column(self, x: float) -> int:
        """The column of an x, from the left end of the axis; it may be outside."""
        return self._dot_x(x) // ACROSS

    def at(self, column: int) -> float:
        """The x in the middle of a column of the whole chart, at most that of an end."""
        share = (column - self.left + 0.5) / self.columns
        return self.x[0] + min(1.0, max(0.0, share)) * (self.x[1] - self.x[0])

    def dot(self, x: float, y: float) -> tuple[int, int]:
        """The dot of a point; one that is far above or below the axis is just outside."""
        low, high, value = (math.log10(max(v, LEAST_LOG)) if self.log else v for v in (*self.y, y))
        height = self.rows * DOWN
        share = (value - low) / (high - low)
        return self._dot_x(x), round((height - 1) * (1 - min(2.0, max(-1.0, share))))

    def row(self, y: float) -> int:
        return self.dot(self.x[0], y)[1] // DOWN

    def _dot_x(self, x: float) -> int:
        low, high = self.x
        return round((x - low) / (high - low) * (self.columns * ACROSS - 1))


def draw(figure: Figure, look: Look, width: int, height: int, chosen: bool = False) -> list[Line]:
    """A chart as so many lines of at most so many cells; `chosen` says that keys go to it."""
    if width < 1 or height < 1:
        return []
    frame = lay_out(figure, look, width, height)
    if frame is None:
        empty = [[(line, MUTED)] for line in textwrap.wrap(figure.none, max(8, width))]
        return [_cut(_head(figure, look, width, chosen), width), *empty, *([[]] * height)][:height]
    lines = [_cut(_head(figure, look, width, chosen), width), *_plotted(figure, look, frame)]
    if height >= TALL:
        lines.append(_axis(figure, frame))
    if height >= LOW:
        lines.append(_labels(figure, frame))
    if height > LEAST:
        lines.append(_cut(_reading(figure, look, width), width))
    return lines[:height]


def lay_out(figure: Figure, look: Look, width: int, height: int) -> Frame | None:
    """Where the parts of a chart are; None where there is nothing to draw, or no room for it."""
    log = look.log and figure.low is None
    rows = height - 1 - (height >= TALL) - (height >= LOW) - (height > LEAST)
    x = _ends(figure, look)
    if rows < 1 or x is None:
        return None
    shown = [(a, b) for series in figure.series for a, b in _values(series) if x[0] <= a <= x[1] and _fits(b, log)]
    if not shown:
        return None
    y = _range([b for _, b in shown], figure, log)
    most = min(rows, 2 + rows // 4)
    ticks = (axes.magnitudes if log else axes.values)(*y, most)
    left = max((len(tick.label) for tick in ticks), default=0) + 1
    if left + 4 > width:
        left, ticks = 0, []
    return Frame(left, width - left, rows, x, y, log, tuple(ticks))


def _ends(figure: Figure, look: Look) -> Point | None:
    """The first and the last x of the axis."""
    if look.window is not None:
        return look.window
    places = [*figure.places, *(tick.at for tick in figure.labels)]
    if not places:
        return None
    low, high = min(places), max(places)
    if figure.x == "round":
        return low - 0.5, high + 0.5
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _values(series: Series) -> Iterator[Point]:
    yield from series.points
    for (x, _), ends in zip(series.points, series.bounds, strict=False):
        yield from ((x, end) for end in ends)


def _range(values: Sequence[float], figure: Figure, log: bool) -> Point:
    """The ends of y, with some room around the values."""
    values = [*values, *([figure.goal] if figure.goal is not None else [])]
    low, high = min(values), max(values)
    if log:
        room = (high / low) ** ROOM if high > low else 2.0
        return low / room, high * room
    room = (high - low) * ROOM or max(abs(high) * 0.1, 1e-9)
    below = low - room if low < 0 or low - room > 0 else 0.0
    return below if figure.low is None else figure.low, high + room if figure.high is None else figure.high


def _head(figure: Figure, look: Look, width: int, chosen: bool) -> Line:
    """Name and unit, then the legend, the newest first, as far as there is room."""
    scale = ", log" if look.log and figure.low is None else ""
    line: Line = [(figure.name, "bold reverse" if chosen else "bold"), (f" {figure.unit}{scale}".rstrip(), MUTED)]
    if figure.goal is not None:
        line.append((f"  ┄ {figure.goal_name} {figure.goal:g}", GOAL))
    items = [(f"  {one.mark} {one.name}", one.colour) for one in reversed(figure.series) if not one.brief]
    used = sum(len(text) for text, _ in line)
    for number, item in enumerate(items):
        more = 2 if number < len(items) - 1 else 0
        if used + len(item[0]) + more > width:
            line.append((" …", MUTED))
            return line
        line.append(item)
        used += len(item[0])
    if figure.note and used + len(figure.note) + 2 <= width:
        line.append((f"  {figure.note}", MUTED))
    return line


def _plotted(figure: Figure, look: Look, frame: Frame) -> Iterator[Line]:
    """The rows between the head and the axis."""
    cells = _drawn(figure, frame)
    if figure.goal is not None and 0 <= (level := frame.row(figure.goal)) < frame.rows:
        cells[level] = [("┄", GOAL) if char == " " else (char, style) for char, style in cells[level]]
    _mark(figure, frame, cells)
    at = look.at
    if at is not None and 0 <= (column := frame.column(at)) < frame.columns:
        for row in cells:
            char, style = row[column]
            row[column] = ("│", "$foreground") if char == " " else (char, f"{style} reverse")
    labels = {frame.row(tick.at): tick.label for tick in reversed(frame.ticks)}
    for number, row in enumerate(cells):
        gutter = f"{labels.get(number, ''):>{frame.left - 1}}{'┤' if number in labels else '│'}" if frame.left else ""
        yield [(gutter, MUTED), *_joined(row)]


def _mark(figure: Figure, frame: Frame, cells: list[list[Run]]) -> None:
    """Put the marks of all series; that of a line's end moves a row where another one has its place."""
    taken: dict[tuple[int, int], Run] = {}
    for series in figure.series:
        own = series.mark, series.colour
        for x, y in series.points[-1:] if series.line else series.points:
            if not _fits(y, frame.log):
                continue
            column, level = frame.column(x), frame.row(y)
            rows = (level, level + 1, level - 1, level + 2, level - 2) if series.line else (level,)
            free = (row for row in rows if 0 <= row < frame.rows and taken.get((row, column), own) == own)
            if 0 <= column < frame.columns and 0 <= level < frame.rows and (row := next(free, None)) is not None:
                cells[row][column] = (series.mark, f"bold {series.colour}")
                taken[row, column] = own


def _drawn(figure: Figure, frame: Frame) -> list[list[Run]]:
    """All lines and bounds, as cells."""
    raster = Raster(frame.columns, frame.rows)
    for series in figure.series:
        for (x, _), (low, high) in zip(series.points, series.bounds, strict=False):
            for side in range(ACROSS):
                left = frame.column(x) * ACROSS + side
                raster.line((left, frame.dot(x, low)[1]), (left, frame.dot(x, high)[1]), series.colour)
        if series.line:
            for piece in _pieces(series, frame):
                for start, end in zip(piece, piece[1:] or piece, strict=False):
                    raster.line(frame.dot(*start), frame.dot(*end), series.colour)
    return raster.cells()


def _pieces(series: Series, frame: Frame) -> Iterator[list[Point]]:
    """The points that are connected, cut where the axis ends."""
    low, high = frame.x
    piece: list[Point] = []
    before: Point | None = None
    for point in series.points:
        if not _fits(point[1], frame.log):
            continue
        if before is not None and point[0] - before[0] > series.gap:
            if piece:
                yield piece
            piece, before = [], None
        if before is not None and before[0] < low < point[0]:
            piece.append((low, _between(before, point, low)))
        if low <= point[0] <= high:
            piece.append(point)
        elif before is not None and before[0] < high < point[0]:
            piece.append((high, _between(before, point, high)))
        before = point
    if piece:
        yield piece


def _fits(y: float, log: bool) -> bool:
    """Whether a value has a place on the axis."""
    return y > LEAST_LOG or not log


def _between(start: Point, end: Point, x: float) -> float:
    return start[1] + (end[1] - start[1]) * (x - start[0]) / (end[0] - start[0])


def _x_ticks(figure: Figure, frame: Frame) -> list[tuple[int, int, str]]:
    """The columns of the ticks below the axis, with their labels."""
    low, high = frame.x
    if figure.labels:
        for every in range(1, len(figure.labels) + 1):  # the last one stays
            shown = figure.labels[::-1][::every][::-1]
            ticks = axes.placed([t for t in shown if low <= t.at <= high], frame.column, frame.columns)
            if axes.apart(ticks):
                return ticks
        return []
    found = (axes.times if figure.x == "time" else axes.whole)(low, high, frame.columns)
    return axes.placed(found, frame.column, frame.columns)


def _axis(figure: Figure, frame: Frame) -> Line:
    ticks = {column for column, _, _ in _x_ticks(figure, frame)}
    drawn = "".join("┬" if column in ticks else "─" for column in range(frame.columns))
    return [(f"{'└':>{frame.left}}{drawn}" if frame.left else drawn, MUTED)]


def _labels(figure: Figure, frame: Frame) -> Line:
    text, ticks = "", _x_ticks(figure, frame)
    for _, start, label in ticks:
        text = f"{text:<{start}}{label}"
    unit = figure.x if figure.x != "time" else ""
    if unit and len(text) + len(unit) + 2 <= frame.columns:
        text = f"{text:<{frame.columns - len(unit)}}{unit}"
    return [(f"{'':>{frame.left}}{text}", MUTED)]


def _reading(figure: Figure, look: Look, width: int) -> Line:
    """Where it is read, and each series' value there."""
    at = look.at if look.at is not None else figure.newest
    if at is None:
        return []
    line: Line = [(figure.place(at), "bold")]
    before = ""
    for series, x, place in read(figure, at):
        value = said(series.value(place), DIGITS if figure.x == "step" else 3)
        if place < len(series.bounds):
            low, high = series.bounds[place]
            value = f"{value} ({low:.0f}–{high:.0f})"
        when = "" if x == at or series.line else f" at {figure.place(x)}"
        line += [("  ", ""), (f"{series.name.removeprefix(before)} ", series.colour), (f"{value}{when}", "")]
        before = f"{series.name} "
    if look.at is None and sum(len(text) for text, _ in line) + len(NEWEST) <= width:
        line.insert(1, (NEWEST, MUTED))
    return line


def _joined(cells: Sequence[Run]) -> Iterator[Run]:
    """Neighbours of one style as one run."""
    text, style = "", ""
    for char, own in cells:
        if own != style and text:
            yield text, style
            text = ""
        text, style = text + char, own
    if text:
        yield text, style


def _cut(line: Line, width: int) -> Line:
    """A line that fits, with a sign where something is cut."""
    if sum(len(text) for text, _ in line) <= width:
        return line
    kept: Line = []
    room = width - 1
    for text, style in line:
        if len(text) > room:
            return [*kept, (f"{text[:room]}…", style)]
        kept.append((text, style))
        room -= len(text)
    return kept
