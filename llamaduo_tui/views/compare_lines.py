"""A comparison of runs as lines of plain text: a table of facts, scores with bounds on one axis, settings, answers."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from engine.protocol.decision import Interval
from engine.protocol.durations import duration
from llamaduo_tui.views import phrases
from llamaduo_tui.views.compare import MUCH, Compared, Side
from llamaduo_tui.views.text import cells, clean, cut, one_line, padded

NAME = 16
WIDEST, NARROWEST = 40, 8
"""Cells of a column."""

AXIS, SHORTEST = 40, 10
"""Cells of the axis of scores, where there is room, and at least."""


def lines(compared: Compared, prompts: int = 0, width: int = 200) -> list[str]:
    """All of a comparison, with so many prompts and their answers; tables and scores in so many cells, if they can."""
    parts = [
        facts(compared, width),
        scores(compared, width),
        settings(compared, width),
        textwrap.wrap(shared(compared), max(AXIS, width)) if compared.shared else [],
    ]
    parts += [list(answer(compared, number)) for number in range(min(prompts, len(compared.shared)))]
    return "\n\n".join("\n".join(part) for part in parts if part).split("\n")


def facts(compared: Compared, room: int = 200) -> list[str]:
    """A column for each run."""
    rows: list[tuple[str, Callable[[Side], str]]] = [
        ("run", lambda side: one_line(side.name, 40)),
        ("state", lambda side: side.state),
        ("model", lambda side: one_line(side.model, 40) or "-"),
        ("service", lambda side: one_line(side.service, 40) or "-"),
        ("round", lambda side: f"{side.round} of {len(side.decisions) - 1}" if side.decisions else "-"),
        ("training pairs", lambda side: f"{side.pairs:,}" if side.pairs else "-"),
        ("lowest dev loss", _dev_loss),
        ("cost", lambda side: phrases.money(side.cost_usd)),
        ("work", lambda side: duration(side.worked_s)),
    ]
    return _table([(name, [told(side) for side in compared.sides]) for name, told in rows], compared, room)


def scores(compared: Compared, room: int = 200) -> list[str]:
    """Each score with its bounds, all on one axis from 0 to 100."""
    width = min(max(cells(one_line(side.name, 40)) for side in compared.sides), max(NARROWEST, room - SHORTEST - 31))
    axis = max(SHORTEST, min(AXIS, room - width - 31))
    found: list[str] = []
    for title, of in _SCORES:
        values = [(one_line(side.name, 40), value) for side in compared.sides if (value := of(side)) is not None]
        if values:
            found.append(title)
            found += [f"  {padded(cut(name, width), width)}  {measure(value, axis)}" for name, value in values]
    return found


def measure(value: Interval, axis: int = AXIS) -> str:
    """A mean with its bounds, in figures and on the axis."""
    low, mean, high = (min(axis - 1, max(0, int(place / 100 * axis))) for place in (value.low, value.mean, value.high))
    line = "".join("●" if at == mean else "━" if low <= at <= high else "·" for at in range(axis))
    return f"{value.mean:5.1f} {f'({value.low:.0f} to {value.high:.0f})':<12} 0 {line} 100"


def settings(compared: Compared, room: int = 200) -> list[str]:
    """The settings that differ."""
    if not compared.settings:
        return ["settings: all alike"]
    rows = [(path, [_value(value) for value in values]) for path, values in compared.settings.items()]
    return ["settings that differ", *_table(rows, compared, room)]


def pair(sides: int) -> str:
    """What the runs are called whose prompts are compared: two of them, however many are marked."""
    return "both" if sides == 2 else "the first two"


def shared(compared: Compared) -> str:
    """How the first two do on the dev prompts that both have."""
    first, second = (one_line(side.name, 40) for side in compared.sides[:2])
    alike = len(compared.shared) - compared.better - compared.worse
    return (
        f"{phrases.count(len(compared.shared), 'dev prompt')} in {pair(len(compared.sides))}: "
        f"against {first}, {second} is better by {MUCH:g} points or "
        f"more on {compared.better:,}, worse on {compared.worse:,}, and about alike on {alike:,}"
    )


def answer(compared: Compared, number: int) -> Iterator[str]:
    """A prompt that both have, with the answer of each."""
    one = compared.shared[number]
    yield f"prompt {one.id}: {one.first:.0f} and {one.second:.0f}"
    yield f"  {one_line(compared.sides[0].text(one.id)[0], 300)}"
    for side in compared.sides:
        yield f"  {one_line(side.name, 40)}: {one_line(clean(side.text(one.id)[1]), 300)}"


_SCORES: tuple[tuple[str, Callable[[Side], Interval | None]], ...] = (
    ("precision, dev prompts", lambda side: side.decision.precision if side.decision else None),
    ("similarity, dev prompts", lambda side: side.decision.similarity if side.decision else None),
    ("precision, sealed test", lambda side: side.sealed[0] if side.sealed else None),
    ("similarity, sealed test", lambda side: side.sealed[1] if side.sealed else None),
)


def _dev_loss(side: Side) -> str:
    measured = [point.dev_loss for point in side.losses if point.dev_loss is not None]
    return f"{min(measured):.3f}" if measured else "-"


def _value(value: Any) -> str:
    return "not set" if value is None else one_line(value if isinstance(value, str) else json.dumps(value), 300)


def _table(rows: list[tuple[str, list[str]]], compared: Compared, room: int) -> list[str]:
    """Rows with a column for each run, which begins at the same place in all tables."""
    values = [[_value(value) for value in each] for each in compared.settings.values()]
    own = [[one_line(side.name, 40), one_line(side.model, 40), one_line(side.service, 40)] for side in compared.sides]
    names = max(NAME, *(len(path) for path in compared.settings), *(len(name) for name, _ in rows))
    most = min(WIDEST, max(NARROWEST, (room - names) // len(compared.sides) - 2))
    widths = [
        min(most, max(map(cells, (*own[at], *(each[at] for each in values), *(row[at] for _, row in rows)))))
        for at in range(len(compared.sides))
    ]
    return ["  ".join([padded(name, names), *map(padded, _cut(row, most), widths)]).rstrip() for name, row in rows]


def _cut(row: list[str], most: int) -> list[str]:
    """The cells of a row in so many cells of a terminal; the ends of those that begin alike, such as paths."""
    begins = {cut(cell, most) for cell in row}
    ends = len(begins) == 1 and len(set(row)) > 1
    return [cut(cell, most, end=ends) for cell in row]
