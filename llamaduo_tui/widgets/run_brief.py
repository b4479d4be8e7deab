"""What stands next to a wide list about the chosen run: what it waits for, its scores with their bounds, its end."""

from __future__ import annotations

from textual.content import Content

from engine.protocol.durations import duration
from engine.protocol.status import State
from llamaduo_tui.views import phrases
from llamaduo_tui.views.questions import takes, wording
from llamaduo_tui.views.run_list import Entry
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import state_styles, timeline

WIDTH = 60
"""Cells that the lines have at first."""

LABEL = 10
ROUNDS = 12
"""Rounds whose scores are shown, the newest ones."""


def lines(entry: Entry, now: float, width: int) -> list[Content]:
    """The facts of a run, from its entry in the list alone."""
    told: list[Content | str] = [state_styles.of(entry.state, entry.mine).content]
    if entry.question is not None and entry.waits:
        asks = f"waits for {wording(entry.question.kind).waits_for}"
        price = f": {takes(entry.question)}" if entry.question.cost_usd is not None else ""
        told += Content(f"{asks}{price}").wrap(width)
    if entry.state is State.RUNNING and (waits := phrases.unanswered(entry.silent_since, now)):
        told += Content(waits).wrap(width)
    if entry.owner:
        told.append(_row("owner", f"{entry.owner}; {'open to you' if entry.mine else 'for you to read only'}"))
    if entry.model or entry.service:
        told += [_row("from", one_line(entry.service, 80)), _row("to", one_line(entry.model, 80))]
    if entry.scores:
        told += ["", *_scores(entry, width), ""]
    ahead = entry.outlook
    if ahead is not None:
        told += [_row("left", ahead.time), _row("", ahead.money)]
    if entry.state in (State.PRIVATE, State.UNREADABLE):
        return _fitted(told, width)
    told.append(_row("spent", phrases.money(entry.cost_usd)))
    if entry.pairs:
        told.append(_row("pairs", f"{entry.pairs:,} in the last training"))
    told += [
        _row("started", f"{phrases.day(entry.created)}, {duration(max(0.0, now - entry.created))} ago"),
        _row("folder", one_line(str(entry.run.folder), 200)),
    ]
    return _fitted(told, width)


def _fitted(told: list[Content | str], width: int) -> list[Content]:
    return [(Content(one) if isinstance(one, str) else one).truncate(width, ellipsis=True) for one in told]


def _scores(entry: Entry, width: int) -> list[Content]:
    rows = [(f"round {number}", *both) for number, both in enumerate(entry.scores)]
    return timeline.score_lines(rows[-ROUNDS:], entry.targets, width, LABEL)


def _row(name: str, value: str) -> Content:
    return Content.assemble((f"{name:<{LABEL}}", "bold"), value)
