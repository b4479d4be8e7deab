"""The live display of a run: one screen that says what happens, how far it is and why.

`picture` is a pure function of the view and the size; it knows no terminal, no files and no keys. Nothing is said by
colour alone, and everything that comes from a run passes through `text`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from engine.config import Target
from llamaduo_tui import words
from llamaduo_tui.state import Interval, Loss, RunView, Section, Stage
from llamaduo_tui.text import one_line

_LABEL = 13
_EXPECTED = {"start": ("coverage",), "final": ("infer", "judge", "report")}
_BLOCKS = "▁▂▃▄▅▆▇█"
_STATES = {"waiting": "waits for you", "stale": "no sign of life", "stopping": "stopping …"}


def picture(
    view: RunView, target: Target, now: float, width: int, height: int, state: str = "running", card: Sequence[str] = ()
) -> RenderableType:
    """The whole screen, `width` columns by `height` rows.

    `state` is the run's as a reader sees it; `card` has the title and the lines of an open question.
    """
    top = [*_header(view, now, width, state), Text()]
    bottom = _box(card, width, "yellow") if card else _box(_now(view, state), width, "blue")
    facts = [_cut(line, width) for line in (*_losses(view, width), *_usage(view))]
    room = height - len(top) - sum(part.rows for part in bottom) - len(facts) - 2
    timeline, scores = _fitting(_timeline(view, now, width), _scores(view, target, width), room)
    middle = [*timeline, Text(), *scores, *facts]
    spare = height - len(top) - sum(part.rows for part in bottom) - len(middle)
    logs = _logs(view, width, spare - 2)
    filling = [Text()] * max(0, spare - len(logs) - 1)
    return Group(*top, *middle, *([Text()] if spare > 0 else []), *logs, *filling, *(part.shown for part in bottom))


class _Block(NamedTuple):
    """Something to show that takes so many rows."""

    shown: RenderableType
    rows: int


def _box(lines: Sequence[str], width: int, colour: str) -> list[_Block]:
    """A box with a title, its lines wrapped here so that their number is known, and what Ctrl+C does below."""
    body = [row for line in lines[1:] for row in textwrap.wrap(line, width - 4)]
    title = Text(f" {lines[0]} ", style="bold")
    panel = Panel(Text("\n".join(body)), title=title, title_align="left", border_style=colour, width=width)
    return [_Block(panel, len(body) + 2), _Block(Text(" Ctrl+C  leave it running, or stop it", style="dim"), 1)]


def _now(view: RunView, state: str) -> list[str]:
    """Where the run is, and what happens there in a sentence."""
    place = "now"
    if view.current is not None:
        section, stage = view.current
        place = f"now: {words.part(section.part)}, {one_line(stage.name, 40)}"
    return [place, words.explain(view, stopping=state == "stopping")]


def _header(view: RunView, now: float, width: int, state: str) -> list[Text]:
    started = view.started
    if started is None:
        return [Text("starting the worker …", style="bold")]
    end = Text(f"{_STATES.get(state, state)} · {words.duration(now - view.began)}", style="bold")
    name = Text(f" {one_line(started.name, 60)} ", style="bold reverse")
    route = Text.assemble(
        ("from ", "dim"), one_line(started.service, 80), (" to ", "dim"), (one_line(started.model, 80), "bold")
    )
    route.truncate(max(1, width - name.cell_len - end.cell_len - 4), overflow="ellipsis")
    gap = max(1, width - name.cell_len - route.cell_len - end.cell_len - 2)
    lines = [_cut(Text.assemble(name, "  ", route, " " * gap, end), width)]
    return [*lines, Text(words.SANDBOX, style="bold yellow")] if started.sandbox else lines


def _timeline(view: RunView, now: float, width: int) -> list[Text]:
    lines = [_section(section, view, now, width) for section in view.sections if section.stages]
    rounds = [section.part for section in view.sections if isinstance(section.part, int)]
    if view.started is not None and not view.ended and view.sections and view.sections[-1].part != "final":
        more = view.started.max_rounds - max(rounds, default=0)
        said = f"up to {more} more round{'s'[: more != 1]}, then the sealed test" if more > 0 else "the sealed test"
        lines.append(_cut(Text(f"{'then':<{_LABEL}}{said}", style="dim"), width))
    return lines


def _section(section: Section, view: RunView, now: float, width: int) -> Text:
    line = _label(words.part(section.part))
    names = {stage.name for stage in section.stages}
    for stage in section.stages:
        line.append_text(_stage(stage, now)).append("   ")
    if view.sections[-1] is section and not view.ended:
        line.append("   ".join(f"· {name}" for name in _expected(section) if name not in names), style="dim")
    line.rstrip()
    return _cut(line, width)


def _stage(stage: Stage, now: float) -> Text:
    name = one_line(stage.name, 20)
    if stage.state == "done":
        return Text.assemble(("✓ ", "green"), name, (f" {words.stopwatch(stage.seconds or 0)}", "dim"))
    if stage.state == "interrupted":
        return Text.assemble(("✗ ", "red"), name, (" interrupted", "dim"))
    left = f", {words.duration(stage.seconds_left)} left" if stage.seconds_left is not None else ""
    so_far = f" {words.stopwatch(now - stage.started)}"
    if not stage.total:
        return Text.assemble(("▶ ", "cyan"), (name, "bold"), so_far)
    share = min(1.0, max(0.0, stage.done / stage.total))
    full = round(share * 12)
    return Text.assemble(
        ("▶ ", "cyan"),
        (f"{name} ", "bold"),
        ("━" * full, "cyan"),
        ("─" * (12 - full), "dim"),
        f" {stage.done:,}/{stage.total:,} {one_line(stage.unit, 10)}{left}",
    )


def _expected(section: Section) -> tuple[str, ...]:
    if isinstance(section.part, int):
        return ("infer", "judge") if section.part == 0 else ("finetune", "infer", "judge")
    return _EXPECTED[section.part]


def _scores(view: RunView, target: Target, width: int) -> list[Text]:
    """A row a round: both means with their intervals, drawn on a line from 0 to 100 that bears the target."""
    scored = [(section, section.score) for section in view.sections if section.score is not None]
    if not scored:
        return []
    axis = max(8, min(40, (width - _LABEL - 9 - 2 * 17) // 2))
    column = axis + 16
    head = _label("dev scores")
    head.append(f"{f'precision, target {target.precision:g}':<{column}} ")
    head.append(f"similarity, target {target.similarity:g}")
    lines = [_cut(head, width)]
    for section, score in scored:
        line = _label(words.part(section.part))
        line.append_text(_measure(score.precision, target.precision, axis)).append(" ")
        line.append_text(_measure(score.similarity, target.similarity, axis)).append(" ")
        line.append("reached" if score.reached else "short", style="bold green" if score.reached else "")
        lines.append(line)
    return lines


def _measure(interval: Interval, target: float, axis: int) -> Text:
    bounds = f"{interval.low:.0f}–{interval.high:.0f}"
    passed = interval.low >= target
    line = Text().append(f"{interval.mean:5.1f} {bounds:<8} ", style="green" if passed else "")
    low, mean, high, goal = (
        min(axis - 1, max(0, int(value / 100 * axis))) for value in (interval.low, interval.mean, interval.high, target)
    )
    for cell in range(axis):
        if cell == mean:
            line.append("●", style="bold green" if passed else "bold")
        elif cell == goal:
            line.append("┃", style="bold yellow")
        elif low <= cell <= high:
            line.append("━", style="green" if passed else "cyan")
        else:
            line.append("─", style="dim")
    return line.append(" ")


def _losses(view: RunView, width: int) -> list[Text]:
    trained = [section for section in view.sections if section.losses]
    if not trained:
        return []
    section = trained[-1]
    train = [loss.train for loss in section.losses if loss.train is not None]
    dev = [loss.dev for loss in section.losses if loss.dev is not None]
    line = _label("loss")
    line.append(f"{words.part(section.part)}  ", style="dim")
    if train:
        line.append(f"training {train[0]:.2f} → {train[-1]:.2f}  ").append(
            sparkline(section.losses, width // 6), style="cyan"
        )
    if dev:
        line.append(f"  dev {' → '.join(f'{value:.2f}' for value in (dev if len(dev) < 3 else (dev[0], dev[-1])))}")
    return [line]


def sparkline(losses: Sequence[Loss], width: int) -> str:
    """The training losses as blocks, at most `width` of them, each the mean of its share of the steps."""
    values = [loss.train for loss in losses if loss.train is not None]
    step = max(1.0, len(values) / width)
    bins = [values[int(i * step) : max(int(i * step) + 1, int((i + 1) * step))] for i in range(min(width, len(values)))]
    means = [sum(part) / len(part) for part in bins]
    low, high = min(means, default=0.0), max(means, default=0.0)
    span = (high - low) or 1.0
    return "".join(_BLOCKS[round((mean - low) / span * (len(_BLOCKS) - 1))] for mean in means)


def _usage(view: RunView) -> list[Text]:
    if view.usage is None:
        return []
    return [_label("service").append(words.usage(view.usage))]


def _logs(view: RunView, width: int, room: int) -> list[Text]:
    shown = view.logs[-min(12, room) :] if room > 0 else ()
    lines = []
    for log in shown:
        level = "" if log.level == "info" else f"{one_line(log.level, 10)}: "
        line = Text.assemble((f"{words.clock(log.time)}  ", "dim"), (level, "bold"), one_line(log.message, 300))
        lines.append(_cut(line, width))
    return lines


def _fitting(timeline: list[Text], scores: list[Text], room: int) -> tuple[list[Text], list[Text]]:
    """Leave the oldest rounds out where there are more than fit: from whichever of the two is longer."""
    while len(timeline) + len(scores) > max(room, 2) and max(len(timeline), len(scores)) > 1:
        if len(timeline) >= len(scores):
            timeline = timeline[1:]
        else:
            scores = [scores[0], *scores[2:]]
    return timeline, scores


def _label(name: str) -> Text:
    return Text().append(f"{name:<{_LABEL}}", style="bold")


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line
