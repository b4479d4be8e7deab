"""Lines of braille dots, two across and four down a cell; where lines cross, a cell has the colour of the last one."""

from __future__ import annotations

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800

ACROSS, DOWN = 2, 4
"""Dots of a cell."""


class Raster:
    """Cells of braille; dots count from the upper left corner, and those outside are left out."""

    def __init__(self, columns: int, rows: int) -> None:
        self._columns, self._rows = columns, rows
        self._bits = [[0] * columns for _ in range(rows)]
        self._styles = [[""] * columns for _ in range(rows)]

    def dot(self, x: int, y: int, style: str) -> None:
        column, row = x // ACROSS, y // DOWN
        if 0 <= column < self._columns and 0 <= row < self._rows:
            self._bits[row][column] |= _DOTS[y % DOWN][x % ACROSS]
            self._styles[row][column] = style

    def line(self, start: tuple[int, int], end: tuple[int, int], style: str) -> None:
        """A straight line of dots, both ends included."""
        (x, y), (x1, y1) = start, end
        steps = max(abs(x1 - x), abs(y1 - y), 1)
        for n in range(steps + 1):
            self.dot(round(x + (x1 - x) * n / steps), round(y + (y1 - y) * n / steps), style)

    def cells(self) -> list[list[tuple[str, str]]]:
        """Rows of cells: a character and its style, " " and "" where there is no dot."""
        return [
            [(chr(_BLANK + bits), style) if bits else (" ", "") for bits, style in zip(*row, strict=True)]
            for row in zip(self._bits, self._styles, strict=True)
        ]
