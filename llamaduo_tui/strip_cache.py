"""The lines that Textual draws, made to hold no reference to themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.style import Style
from textual.strip import Strip

_crop_extend, _divide = Strip.crop_extend, Strip.divide


def leave_no_cycles() -> None:
    """Let a line that is cut to its own length be the result, and not be kept in its own cache.

    Of Textual 8.2.8, each line that was drawn stays otherwise until all objects are searched for garbage: with a large
    round open that halts the app for a tenth of a second, every 20 pages.
    """
    Strip.crop_extend = _cropped  # type: ignore[method-assign, assignment]
    Strip.divide = _divided  # type: ignore[method-assign, assignment]


def _cropped(strip: Strip, start: int, end: int, style: Style | None) -> Strip:
    return strip if start <= 0 and end == strip.cell_length else _crop_extend(strip, start, end, style)


def _divided(strip: Strip, cuts: Iterable[int]) -> Sequence[Strip]:
    within = [cut for cut in cuts if cut <= strip.cell_length]
    return [strip] if within == [strip.cell_length] else _divide(strip, within)
