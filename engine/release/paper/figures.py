"""The pictures of the paper: small functions from numbers to SVG, in points, prompts and shares.

Colours are classes of paper.css, which knows light, dark and print; what a colour says, a shape or a word says, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.protocol.decision import BEST, Interval
from engine.release.paper.html import Html, joined, tag

WIDTH = 720
LEFT, RIGHT, TOP, BOTTOM = 40.0, 12.0, 14.0, 34.0
SCORES = (0.0, BEST)
GRID = (0, 25, 50, 75, 100)
MARK = 5.0
"""Half the size of a mark."""

LABELS = 12
"""Names below a chart; with more columns some stay without."""

BIN = 5
"""Points."""

STRIP_WIDTH, STRIP_HEIGHT = 240, 22


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to pixels; what is outside of it is drawn at its end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        if not math.isfinite(value):
            return self.start
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Column:
    """Both mean scores with their bounds; `apart` where they are of other prompts than those of the column before."""

    name: str
    precision: Interval
    similarity: Interval
    apart: bool = False


def legend() -> Html:
    """What the marks of `scores_by_round` mean."""
    swatches = [
        tag("span", _picture(20, 20, "", _circle(10, 10)), "precision"),
        tag("span", _picture(20, 20, "", _square(10, 10)), "similarity"),
        tag("span", _picture(26, 20, "", _line(0, 10, 26, 10, "target")), "target"),
    ]
    return tag("p", *swatches, class_="legend")


def scores_by_round(columns: Sequence[Column], targets: tuple[float, float] | None, said: str) -> Html:
    """Mean scores with their bounds, a column each, and the targets of precision and similarity."""
    height = 300
    y = Scale(*SCORES, height - BOTTOM, TOP)
    step = (WIDTH - LEFT - RIGHT) / max(1, len(columns))
    parts = [_grid(y, LEFT, WIDTH - RIGHT)]
    if targets is not None:
        styles = ("target one", "target two") if targets[0] != targets[1] else ("target",)
        for value, style in zip(targets, styles, strict=False):
            parts.append(_line(LEFT, y.at(value), WIDTH - RIGHT, y.at(value), style))
    every = math.ceil(len(columns) / LABELS)
    for place, column in enumerate(columns):
        middle = LEFT + step * (place + 0.5)
        if column.apart:
            parts.append(_line(LEFT + step * place, TOP, LEFT + step * place, height - BOTTOM, "apart"))
        beside = min(9.0, step / 5)
        parts += [
            _whisker(y, middle - beside, column.precision, "one"),
            _circle(middle - beside, y.at(column.precision.mean)),
            _whisker(y, middle + beside, column.similarity, "two"),
            _square(middle + beside, y.at(column.similarity.mean)),
        ]
        if place % every == 0 or column.apart or place == len(columns) - 1:
            parts.append(_text(middle, height - 12, column.name, "middle"))
    return _picture(WIDTH, height, said, *parts)


def histogram(values: Sequence[float], target: float | None, said: str) -> Html:
    """How many prompts have how many points, in steps of BIN."""
    height = 180
    counts = [0] * (100 // BIN)
    for value in values:
        counts[min(len(counts) - 1, max(0, int(value // BIN)))] += 1
    x = Scale(*SCORES, LEFT, WIDTH - RIGHT)
    y = Scale(0, max(1, *counts), height - BOTTOM, TOP)
    parts = [_line(LEFT, height - BOTTOM, WIDTH - RIGHT, height - BOTTOM, "grid")]
    for place, count in enumerate(counts):
        left, right, top = x.at(place * BIN) + 1, x.at((place + 1) * BIN) - 1, y.at(count)
        if count:
            parts.append(_bar(left, top, right - left, height - BOTTOM - top, "one"))
            parts.append(_text((left + right) / 2, top - 3, f"{count:,}", "middle"))
    if target is not None:
        parts.append(_line(x.at(target), TOP, x.at(target), height - BOTTOM, "target"))
    parts += [_text(x.at(tick), height - 12, str(tick), "middle") for tick in GRID]
    return _picture(WIDTH, height, said, *parts)


def from_to(before: float | None, after: float, said: str) -> Html:
    """Two scores of the same thing, hollow the earlier one."""
    x, middle = _strip_scale(*SCORES), STRIP_HEIGHT / 2
    parts = [_line(x.start, middle, x.end, middle, "grid")]
    if before is not None:
        parts.append(_line(x.at(before), middle, x.at(after), middle, "one"))
        parts.append(tag("circle", cx=x.at(before), cy=middle, r=MARK - 1, class_="hollow"))
    return _picture(STRIP_WIDTH, STRIP_HEIGHT, said, *parts, _circle(x.at(after), middle), class_="strip")


def interval_strip(found: Interval, low: float, high: float, lines: Sequence[float], said: str) -> Html:
    """A mean with its bounds on a scale from `low` to `high`, and lines to compare it with, the first one broken."""
    x, middle = _strip_scale(low, high), STRIP_HEIGHT / 2
    parts = [_line(x.start, middle, x.end, middle, "grid")]
    for place, value in enumerate(lines):
        parts.append(_line(x.at(value), 1, x.at(value), STRIP_HEIGHT - 1, "apart" if place else "target bad"))
    parts += [
        _line(x.at(found.low), middle, x.at(found.high), middle, "one"),
        *(_line(x.at(end), middle - 4, x.at(end), middle + 4, "one") for end in (found.low, found.high)),
        _circle(x.at(found.mean), middle),
    ]
    return _picture(STRIP_WIDTH, STRIP_HEIGHT, said, *parts, class_="strip")


def share_bar(share: float, low: float, said: str) -> Html:
    """A share, 0 to 1, of all, and a mark at the least that it is for prompts like these."""
    height, x = 34, Scale(0.0, 1.0, 1.0, WIDTH - 1.0)
    parts = [_bar(1, 4, WIDTH - 2, 24, "rest")]
    if share > 0:
        parts += [_bar(1, 4, x.at(share) - 1, 24, "one"), _line(x.at(low), 0, x.at(low), 32, "edge")]
    return _picture(WIDTH, height, said, *parts)


def _picture(width: float, height: float, said: str, *parts: Html, class_: str | None = None) -> Html:
    """An SVG; `said` is what a screen reader says of it, "" where the text beside it does."""
    about = [tag("title", said)] if said else []
    hidden, role = (None, "img") if said else ("true", None)
    return tag(
        "svg", *about, *parts, viewBox=f"0 0 {width:g} {height:g}", role=role, aria_hidden=hidden,
        width=width, height=height, class_=class_,
    )  # fmt: skip


def _strip_scale(low: float, high: float) -> Scale:
    return Scale(low, high, MARK + 1, STRIP_WIDTH - MARK - 1)


def _grid(y: Scale, left: float, right: float) -> Html:
    lines = (_line(left, y.at(tick), right, y.at(tick), "grid") for tick in GRID)
    return joined(*lines, *(_text(left - 6, y.at(tick) + 4, str(tick), "end") for tick in GRID))


def _whisker(y: Scale, x: float, score: Interval, style: str) -> Html:
    low, high = y.at(score.low), y.at(score.high)
    ends = (_line(x - 4, end, x + 4, end, style) for end in (low, high))
    return joined(_line(x, low, x, high, style), *ends)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Html:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=style)


def _bar(x: float, y: float, width: float, height: float, style: str) -> Html:
    return tag("rect", x=x, y=y, width=max(0.0, width), height=max(0.0, height), class_=f"bar {style}")


def _circle(x: float, y: float) -> Html:
    return tag("circle", cx=x, cy=y, r=MARK, class_="mark one")


def _square(x: float, y: float) -> Html:
    return tag("rect", x=x - MARK, y=y - MARK, width=2 * MARK, height=2 * MARK, class_="mark two")


def _text(x: float, y: float, words: str, anchor: str) -> Html:
    return tag("text", words, x=x, y=y, text_anchor=anchor)
