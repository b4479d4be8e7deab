"""The list of runs as lines: its head, the names of its columns, and a row for each run."""

from __future__ import annotations

from textual.content import Content

from engine.protocol.status import State
from llamaduo_tui.views import phrases
from llamaduo_tui.views.run_list import ORDERS, Entry
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import state_styles


def head(entries: list[Entry], found: list[Entry], order: str, states: str, marked: int) -> Content:
    waiting = sum(entry.waits for entry in entries)
    working = sum(entry.state is State.RUNNING for entry in entries)
    runs = phrases.count(len(entries), "run")
    said = [f"{len(found)} of {runs}" if len(found) < len(entries) else runs]
    said += [f"{working} running"] if working else []
    said += [f"only {states}"] if states != "all" else []
    said += [f"by {order}"] if order != ORDERS[0].name else []
    said += [f"{marked} marked"] if marked else []
    asks = f" · ◆ {waiting} wait{'s' if waiting == 1 else ''} for you" if waiting else ""
    return Content.assemble(
        (" llamaduo ", "bold reverse"), "  ", " · ".join(said) if entries else "", (asks, "bold $text-warning")
    )


Sizes = dict[str, int]
"""The columns that have room, in the order in which they stand, and their widths."""

_USUAL = {"STATE": 18, "RUN": 0, "AT": 18, "PRECISION": 11, "COST": 9, "AGE": 7}
"""Columns that are there in 80 cells; the name takes what is left."""

_LEAVE = ("AT", "COST", "AGE")
"""Usual columns that go where there is less room, the least telling first."""

_MORE = {"SIMILARITY": 12, "MODEL": 21, "LEFT": 10, "PAIRS": 8, "TARGET": 10, "SERVICE": 16}
"""Columns that come as there is room, the most telling first."""

_HEADS = {
    "COST": "    COST",
    "AGE": "   AGE",
    "MODEL": " MODEL",
    "LEFT": "     LEFT",
    "PAIRS": "  PAIRS",
    "TARGET": " TARGET",
}

NAME, LONG = 12, 32
"""Cells that a run's name has at least, and at most while other columns still lack room."""


def name(entry: Entry) -> str:
    """The run's name, and whose it is where that is another user."""
    return one_line(f"{entry.run.name} ({entry.owner})" if entry.owner else entry.run.name, 60)


def sizes(width: int, names: int) -> Sizes:
    """The columns for a list of some width, whose longest name has `names` cells."""
    usual = dict(_USUAL)
    for column in _LEAVE:
        if sum(usual.values()) + NAME > width:
            del usual[column]
    left = width - sum(usual.values())
    usual["RUN"] = max(NAME, min(names + 2, LONG, left - (_MORE["SIMILARITY"] if width >= 92 else 0)))
    left -= usual["RUN"]
    more: Sizes = {}
    for column, size in _MORE.items():
        if left < size:
            break
        left -= size
        more[column] = size
    longer = max(0, min(left, names + 2 - usual["RUN"]))
    usual["RUN"] += longer
    if "MODEL" in more:
        more["MODEL"] += min(20, left - longer)
    first = ("STATE", "RUN", "AT", "PRECISION", "SIMILARITY")
    every = usual | more
    return {column: every[column] for column in (*first, *every) if column in every}


def columns(sizes: Sizes, marks: bool) -> Content:
    """The names of the columns; with marks in front of the rows they stand further right."""
    heads: dict[str, str | Content] = {column: _HEADS.get(column, column) for column in sizes}
    heads["STATE"] = ("  " if marks else "") + "STATE"
    return _line(heads, sizes)


def row(entry: Entry, now: float, sizes: Sizes, mark: str = "") -> Content:
    """A run's cells in the columns that have room."""
    state = state_styles.of(entry.state, entry.mine)
    best = entry.best if entry.best is not None and entry.best < len(entry.scores) else len(entry.scores) - 1
    precision, similarity = (
        f"{means[best]:4.0f} {state_styles.trend(means, 5)}" if means and best < len(means) else "   –"
        for means in (entry.precisions, entry.similarities)
    )
    cells: dict[str, str | Content] = {
        "STATE": Content.assemble((mark, "bold $text-accent"), state.content) if mark else state.content,
        "RUN": name(entry),
        "AT": _place(entry, now),
        "PRECISION": precision,
        "SIMILARITY": similarity,
        "COST": f"{_cost(entry):>8}",
        "AGE": f"{phrases.age(now - entry.created):>6}",
        "MODEL": f" {one_line(entry.model.rsplit('/', 1)[-1], 40) or '–'}",
        "LEFT": f"{work_left(entry, now):>9}",
        "PAIRS": f"{entry.pairs:>7,}" if entry.pairs else "      –",
        "TARGET": f" {_target(entry)}",
        "SERVICE": one_line(entry.service, 40) or "–",
    }
    return _line(cells, sizes)


def _cost(entry: Entry) -> str:
    """What was paid; nothing is said of a run whose files may not be read."""
    if entry.state in (State.PRIVATE, State.UNREADABLE):
        return "–"
    return phrases.money(entry.cost_usd) if entry.cost_usd is not None else "unknown"


def work_left(entry: Entry, now: float) -> str:
    """The work that is left, where that is known: "~2.1 h", while it is not known in full ">12 min"."""
    ahead = entry.outlook
    if ahead is None:
        return "–"
    gone = max(0.0, now - ahead.at) if entry.state is State.RUNNING else 0.0
    return f"{'>' if ahead.unknown else '~'}{phrases.brief(max(0.0, ahead.left_s.expected - gone))}"


def _target(entry: Entry) -> str:
    precision, similarity = entry.targets
    return "–" if precision is None or similarity is None else f"{precision:g}, {similarity:g}"


def _line(cells: dict[str, str | Content], sizes: Sizes) -> Content:
    parts = []
    for column, width in sizes.items():
        cell = cells[column]
        part = cell if isinstance(cell, Content) else Content(cell)
        part = part.truncate(width - 1, ellipsis=True)
        parts.append(part.pad_right(width - part.cell_length))
    return Content.assemble(*parts)


def _place(entry: Entry, now: float) -> str | Content:
    if entry.state is State.RUNNING and phrases.unanswered(entry.silent_since, now):
        return Content.styled("waits for service", "$text-warning")
    if entry.stage is not None or entry.state.working:
        number = f"round {entry.round} " if entry.round is not None else ""
        return f"{number}{one_line(entry.stage or '', 20)}".strip() or "–"
    return f"best: round {entry.best}" if entry.best is not None else "–"
