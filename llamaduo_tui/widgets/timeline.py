"""The rounds of a run: their stages with progress and remaining time, and their scores against the target."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from engine.protocol.decision import Interval
from engine.protocol.stages import Phase, expected
from engine.settings.schema import Target
from llamaduo_tui.views import phrases
from llamaduo_tui.views.run_view import RunView, Section, StageView, goals
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import state_styles
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.keyed_scroll import KeyedScroll

LABEL = 13
_BAR = 12

NARROW = 64
"""Cells of a line below which the bar of a stage is short, so that the time left has room."""
WIDEST_AXIS = 60
NARROWEST_AXIS = 8
"""Cells of an axis from 0 to 100; with less room there are only the figures."""

BRIEF_ROUNDS = 3
SHORT_LINES = 9
BRIEF_LINES = 4
"""Lines that it takes on a short terminal, while the run works and after its end; with a card only scores."""


class Rounds(KeyedScroll):
    """Holds the timeline: the newest lines stay visible until the reader scrolls up."""

    HELP = """
## Rounds

Each line is a round with its stages. **round 0** is the untuned small model, the baseline; each later round trains
it, runs it on the dev prompts and judges its responses. Below are the scores on dev prompts, from 1 to 100, with
their bounds: when the *low* ends of both pass the target, the sealed prompts are opened, and decide. `!` marks a round
in which a judge scored the same answers otherwise than in round 0: the log says by how much.
"""

    _hidden = 0

    def show_newest(self) -> None:
        """Scroll down where there are more lines than before."""
        if self.max_scroll_y != self._hidden:
            self._hidden = self.max_scroll_y
            self.scroll_end(animate=False)


class Timeline(DiffedStatic):
    """A line for each round, then a line for each round's scores."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._shown: tuple[RunView, Target | None, float, bool] = (RunView(), None, 0.0, True)

    def show(self, view: RunView, target: Target | None, now: float, alive: bool) -> None:
        """A run up to now; where its worker is no longer alive, no stage runs and none is expected."""
        self._shown = (view, target, now, alive)
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)  # called at once, Textual would keep the old height

    def _draw(self) -> None:
        view, target, now, alive = self._shown
        width = self.content_size.width
        if width > LABEL:  # less, and it is not laid out yet
            scored, begun = scores(view, target, width), timeline(view, now, alive, width)
            if self.screen.has_class("-short") and not self.screen.has_class("-small"):  # the newest lines
                scored = [*scored[:1], *scored[1:][-BRIEF_ROUNDS:]]
                room = 0 if self.screen.has_class("-asks") else BRIEF_LINES if view.concluded else SHORT_LINES
                lines = [*begun[max(0, len(begun) - max(0, room - len(scored))) :], *scored]
            else:
                lines = [*begun, *([Content()] if scored else []), *scored]
            self.put(Content("\n").join(line.truncate(width, ellipsis=True) for line in lines))


def timeline(view: RunView, now: float, alive: bool = True, width: int = 200) -> list[Content]:
    """One line for each section that has begun, and one for what may follow."""
    lines = [_section(section, view, now, alive, width) for section in view.sections if section.stages]
    rounds = [section.part for section in view.sections if isinstance(section.part, int)]
    if (
        alive
        and view.started is not None
        and not view.concluded
        and view.sections
        and view.sections[-1].phase is not Phase.SEALED
    ):
        more = view.started.max_rounds - max(rounds, default=0)
        said = f"up to {phrases.count(more, 'more round')}, then the sealed test" if more > 0 else "the sealed test"
        lines.append(Content.styled(f"{'then':<{LABEL}}{said}", "$foreground-muted"))
    return lines


def scores(view: RunView, target: Target | None, width: int) -> list[Content]:
    """A head, and a line a round: both means with their intervals, drawn on an axis from 0 to 100 with the target."""
    rows = [
        (f"{phrases.part(s.part)}{' !' if s.score.judge_shifted else ''}", s.score.precision, s.score.similarity)
        for s in view.sections
        if s.score is not None
    ]
    sealed = view.outcome.sealed if view.outcome else None
    if sealed is not None:
        rows.append((phrases.part(Phase.SEALED), sealed.precision, sealed.similarity))
    return score_lines(rows, goals(target), width) if rows else []


def score_lines(
    rows: Sequence[tuple[str, Interval, Interval]],
    wanted: tuple[float | None, float | None],
    width: int,
    label: int = LABEL,
) -> list[Content]:
    """A head, and a line for each name with its precision and similarity."""
    axis = min(WIDEST_AXIS, (width - label) // 2 - 17)
    axis = axis if axis >= NARROWEST_AXIS else 0
    said, mark = (", target", " ┃") if axis else (" of", "")
    heads = [
        f"{name}{f'{said} {goal:g}{mark}' if goal is not None else ''}"
        for name, goal in zip(("precision", "similarity"), wanted, strict=True)
    ]
    lines = [Content.styled(f"{'scores':<{label}}{heads[0]:<{axis + 17}}{heads[1]}", "$foreground-muted")]
    for name, precision, similarity in rows:
        measures = [measure(p, goal, axis) for p, goal in zip((precision, similarity), wanted, strict=True)]
        lines.append(Content.assemble((f"{name:<{label}}", "bold"), measures[0], "  ", measures[1]))
    return lines


def measure(value: Interval, goal: float | None, axis: int) -> Content:
    """`axis` + 15 cells: the mean, a tick where it passes, the interval, and an axis with these and the target."""
    passed = goal is not None and value.low >= goal
    style = "$text-success" if passed else ""
    bounds = f"{value.low:.0f}–{value.high:.0f}"
    low, mean, high, aim = (
        min(axis - 1, max(0, int(place / 100 * axis))) for place in (value.low, value.mean, value.high, goal or 0.0)
    )
    cells = []
    for cell in range(axis):
        if cell == mean:
            cells.append(("●", f"bold {style}"))
        elif goal is not None and cell == aim:
            cells.append(("┃", "bold $text-warning"))
        elif low <= cell <= high:
            cells.append(("━", "$success" if passed else "$primary"))
        else:
            cells.append(("─", "$border-blurred"))
    return Content.assemble((f"{value.mean:5.1f}{'✓' if passed else ' '}{bounds:>7} ", style), *cells, " ")


def _section(section: Section, view: RunView, now: float, alive: bool, width: int) -> Content:
    """A section's stages; of those to come, as many as have room."""
    bar = _BAR if width >= NARROW else _BAR // 3
    parts: list[Content] = [_stage(stage, now, alive, bar) for stage in section.stages]
    if alive and view.sections[-1] is section and not view.concluded:
        begun = {stage.name for stage in section.stages}
        to_come = [stage.name for stage in expected(section.phase) if stage.name not in begun]
        room = width - LABEL - sum(part.cell_length + 2 for part in parts)
        coming = "  ".join(f"· {name}" for name in to_come)
        while len(coming) > room and to_come:
            to_come.pop()
            coming = "  ".join([*(f"· {name}" for name in to_come), "· …"]) if to_come else ""
        parts += [Content.styled(coming, "$foreground-muted")] if coming else []
    return Content.assemble((f"{phrases.part(section.part):<{LABEL}}", "bold"), Content("  ").join(parts))


def _stage(stage: StageView, now: float, alive: bool, bar: int) -> Content:
    name = one_line(stage.name, 20)
    if stage.state == "done":
        return Content.assemble(
            ("✓ ", "$text-success"), name, (f" {phrases.stopwatch(stage.seconds or 0)}", "$foreground-muted")
        )
    if stage.state == "interrupted" or not alive:
        at = f" at {stage.done:,}/{stage.total:,}" if stage.total and not alive else ""
        return Content.assemble(("✗ ", "$text-error"), name, (f" interrupted{at}", "$foreground-muted"))
    head = Content.assemble(("▶ ", "$text-primary"), (name, "bold"))
    if not stage.total:
        return head + Content(f" {phrases.stopwatch(now - stage.started)}{_nodes(stage)}")
    return Content.assemble(head, " ", state_styles.bar(stage.done / stage.total, bar), f" {progress(stage)}")


def progress(stage: StageView) -> str:
    """How far a stage is: "44/120 steps, 1 min 54 s left"."""
    left = phrases.left(stage.done, stage.total, stage.seconds_left)
    return f"{stage.done:,}/{stage.total:,} {one_line(stage.unit, 10)}{left}{_nodes(stage)}"


def _nodes(stage: StageView) -> str:
    return f", {phrases.nodes(stage.nodes)}" if stage.nodes else ""
