"""Points of a score, in words."""

from __future__ import annotations


def points(number: float) -> str:
    """A number of points: "1 point", "2 points", "0.5 points"."""
    return f"{number:g} point{'' if number == 1 else 's'}"
