"""The axes of charts: where ticks go, and what is written at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_TIMES = (1, 2, 5, 10, 30, *(n * _MINUTE for n in (1, 2, 5, 10, 30)), *(n * _HOUR for n in (1, 2, 3, 6, 12)))
_UNITS = (("d", _DAY), ("h", _HOUR), ("min", _MINUTE))
_CLOSE = 1e-9
"""Of a step: what floating point adds to a tick at the end of an axis."""


APART = 3
"""Columns between two labels."""


class Tick(NamedTuple):
    """A place on an axis, and what is written there."""

    at: float
    label: str


def said(value: float, digits: int = 3) -> str:
    """A value in so many digits: 1,234; 63.6; 0.913; 2.5e-4."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    if abs(value) < 0.001:
        return _scientific(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def elapsed(seconds: float) -> str:
    """A time since the start: "40 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    for unit, size, less, smaller in (("d", _DAY, "h", _HOUR), ("h", _HOUR, "min", _MINUTE)):
        if seconds >= size:
            rest = int(seconds % size // smaller)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {less}" if rest else "")
    return f"{int(seconds // _MINUTE)} min" if seconds >= _MINUTE else f"{int(seconds)} s"


def values(low: float, high: float, most: int) -> list[Tick]:
    """At most so many ticks at round numbers, at equal distances, all with as many decimals."""
    for step in _steps((high - low) / max(1, most)):
        places = _multiples(step, low, high)
        if len(places) <= max(1, most):
            return [Tick(place, _decimal(place, step)) for place in places]
    return []


def magnitudes(low: float, high: float, most: int) -> list[Tick]:
    """At most so many ticks on a logarithmic axis: powers of ten, and between them 2 and 5, or all, where few fit."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,)):
        places = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        inside = [place for place in places if low * (1 - _CLOSE) <= place <= high * (1 + _CLOSE)]
        if len(inside) <= most:
            return [Tick(place, said(place)) for place in inside] if len(inside) > 1 else values(low, high, most)
    every = -(-len(inside) // max(1, most))
    return [Tick(place, said(place)) for place in inside[::every]]


def whole(low: float, high: float, columns: int) -> list[Tick]:
    """Ticks at whole numbers, as many as fit into so many columns."""
    steps = (step for step in _steps(0.5) if step >= 1)
    return _fitting(steps, lambda place: f"{place:,.0f}", low, high, columns)


def times(low: float, high: float, columns: int) -> list[Tick]:
    """Ticks at round times in seconds since a start, as many as fit into so many columns."""

    unit, size = next((one for one in _UNITS if high - low >= 3 * one[1]), ("s", 1.0))

    def label(place: float) -> str:
        return f"{place / size:,.0f} {unit}" if place else "0"

    def steps() -> Iterator[float]:
        yield from (step for step in _TIMES if step >= size)
        yield from (days * _DAY for days in _steps(0.5) if days >= 1)

    return _fitting(steps(), label, low, high, columns)


def placed(ticks: Sequence[Tick], column: Callable[[float], int], columns: int) -> list[tuple[int, int, str]]:
    """Each tick's column, and its label with the column where that begins: in the middle below, within the axis.

    A label that is wider than the axis has no place.
    """
    found = []
    for tick in ticks:
        at = column(tick.at)
        if len(tick.label) <= columns:
            found.append((at, max(0, min(columns - len(tick.label), at - len(tick.label) // 2)), tick.label))
    return found


def apart(labels: Sequence[tuple[int, int, str]]) -> bool:
    """Whether labels are far enough apart to read as several."""
    return all(one[1] + len(one[2]) + APART <= other[1] for one, other in pairwise(labels))


def _fitting(
    steps: Iterator[float], label: Callable[[float], str], low: float, high: float, columns: int
) -> list[Tick]:
    """The ticks of the smallest step whose labels don't touch."""
    span = high - low
    for step in steps:
        if span / step > columns:
            continue
        ticks = [Tick(place, label(place)) for place in _multiples(step, low, high)]
        at = lambda place: round((place - low) / span * (columns - 1)) if span else 0  # noqa: E731
        if apart(placed(ticks, at, columns)):
            return ticks
    return []


def _steps(least: float) -> Iterator[float]:
    """1, 2 and 5 times powers of ten, from a number on, without end."""
    power = math.floor(math.log10(least)) if least > 0 else 0
    while True:
        yield from (digit * 10.0**power for digit in (1, 2, 5) if digit * 10.0**power >= least * (1 - _CLOSE))
        power += 1


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - _CLOSE), math.floor(high / step + _CLOSE)
    return [n * step for n in range(first, last + 1)]


def _scientific(value: float) -> str:
    if value == 0:
        return "0"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def _decimal(value: float, step: float) -> str:
    if step < 0.001:
        return _scientific(value)
    return f"{value:,.{max(0, -math.floor(math.log10(step) + _CLOSE))}f}"
