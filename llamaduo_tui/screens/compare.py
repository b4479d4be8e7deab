"""Runs side by side: their facts, scores and differing settings, their losses overlaid, and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.screens.opening import Opening
from llamaduo_tui.views import compare_lines, figures, panes
from llamaduo_tui.views.compare import Compared, beginnings, compare
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.widgets import design
from llamaduo_tui.widgets.compared_answers import ComparedAnswers, Reply
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.keyed_list import KeyedList
from llamaduo_tui.widgets.keyed_scroll import KeyedScroll
from llamaduo_tui.widgets.plots import Plots
from llamaduo_tui.widgets.run_head import tabs

LISTED = 300
"""Prompts that the list of answers has, those with the greatest difference."""

PARTS = {"scores": "#overview", "losses": "Plots", "answers": "OptionList"}
"""What scrolls, or is read, in each part."""

MOST_ROUNDS = 4
"""Rounds of a run that are compared."""

MARGIN = 4
"""Columns of a frame and a scroll bar around the scores."""


@dataclass(frozen=True)
class Loaded:
    """Runs, and the beginnings of the prompts that are listed."""

    compared: Compared
    prompts: list[str]


@dataclass
class AnswersRead(Message):
    """The texts of a prompt's answers."""

    prompt: str
    replies: list[Reply]


class CompareScreen(Opening, Screen[None]):
    """Reads the runs once, in a thread; a wide terminal shows all parts, others the one that a digit chooses."""

    CSS_PATH = "compare.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (72, "-wide"), (160, "-vast")]  # noqa: RUF012 - as Textual declares it
    AUTO_FOCUS = "#overview"
    HELP = """
## Compare

**1** Each run in the round of its best scores: facts, scores with their bounds on one axis, and settings that differ.
**2** The losses of these rounds' trainings, each with its digit: lines on training pairs, digits on dev prompts. Arrows
left and right, or a click, read the values at a step; `L` draws a logarithmic axis, `+` and `-` zoom, `m` uses the
whole screen, `w` saves.
**3** The dev prompts that the first two runs share, those with the greatest difference first, with the answers of all;
**≠** marks what differs between the first two.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", id="compare.back", tooltip="Back to the runs"),
        Binding("1", "pane('scores')", "Scores", id="compare.scores", tooltip="Facts, scores and settings"),
        Binding("2", "pane('losses')", "Losses", id="compare.losses", tooltip="The losses of all, overlaid"),
        Binding("3", "pane('answers')", "Answers", id="compare.answers", tooltip="The same prompts with all answers"),
    ]

    def __init__(self, runs: list[Run], rounds: int = 0) -> None:
        """Of a single run the last `MOST_ROUNDS` of so many rounds are compared, the newest first."""
        super().__init__()
        self._runs = runs
        numbers = range(max(0, rounds - MOST_ROUNDS), rounds)
        self._sides: list[tuple[Run, int | None]] = [(run, None) for run in runs]
        if numbers:
            self._sides = [(runs[0], number) for number in reversed(numbers)]
        self._compared: Compared | None = None

    def compose(self) -> ComposeResult:
        design.fit(self)
        names = ", ".join(one_line(run.name, 30) for run in self._runs)
        rounds = f", {len(self._sides)} rounds" if len(self._runs) == 1 else ""
        yield Static(Content.assemble(("Compare", "bold"), f"  {names}{rounds}"), id="compare-title")
        yield Static(id="compare-tabs", markup=False)
        with Container(id="compare-body"):
            with Vertical(id="compare-left"):
                with KeyedScroll(id="overview"):
                    yield Static("Reading ...", id="compare-text", markup=False)
                yield Plots()
            with Container(id="compare-right"):
                with Vertical(id="compare-prompts"):
                    yield Static("1st  2nd  +/-  prompt", id="compare-columns")
                    yield KeyedList(markup=False)
                yield ComparedAnswers()
        yield KeyBar()

    def on_mount(self) -> None:
        for selector, name, title in (
            ("#overview", "scores", "scores and settings"),
            (Plots, "losses", "losses"),
            ("#compare-prompts", "answers", f"dev prompts in {compare_lines.pair(len(self._sides))}"),
        ):
            self.query_one(selector, Widget).border_title = panes.titled(name, title, panes.COMPARE)  # type: ignore[arg-type]
        self._show_pane("scores")
        self._read()

    @work(thread=True, group="compare", exit_on_error=False)
    def _read(self) -> Loaded:
        with gc_paused():
            compared = compare(self._sides)
            return Loaded(compared, beginnings(compared, LISTED))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and (error := event.worker.error) is not None:
            said = f"{error.message}; {error.hint}" if isinstance(error, LlamaDuoError) else str(error)
            if event.worker.group == "compare":
                self.ready = True
                self.query_one("#compare-text", Static).update(clean(said))
            else:
                self.notify(one_line(said), title="cannot be read", severity="error", markup=False)
        elif event.state is WorkerState.SUCCESS and isinstance(event.worker.result, Loaded):
            self._show(event.worker.result)

    def _show(self, loaded: Loaded) -> None:
        compared = self._compared = loaded.compared
        self._write()
        rows = [
            Option(f"{one.first:3.0f} {one.second:4.0f} {one.gain:+4.0f}  {prompt}")
            for one, prompt in zip(compared.shared, loaded.prompts, strict=False)
        ]
        none = f"No dev prompt is in {compare_lines.pair(len(compared.sides))}."
        self.query_one(OptionList).set_options(rows or [Option(none, disabled=True)])
        if rows:
            self.query_one(OptionList).highlighted = 0
        losses = [
            (
                one_line(side.name, 20),
                [(float(point.step), point.loss) for point in side.losses],
                [(float(point.step), point.dev_loss) for point in side.losses],
            )
            for side in compared.sides
        ]
        self.query_one(Plots).show_figures((figures.overlaid(losses),))
        self.ready = True

    def on_resize(self) -> None:
        self.call_after_refresh(self._write)  # the new layout has another width

    def _write(self) -> None:
        """Write scores and settings, in the width that they have."""
        if self._compared is not None:
            told = compare_lines.lines(self._compared, width=self.query_one("#overview").size.width - MARGIN)
            self.query_one("#compare-text", Static).update(Content("\n".join(told)))

    @on(Plots.Save)
    def _save(self, message: Plots.Save) -> None:
        names = "-".join(run.name for run in self._runs[:3])
        self.post_message(messages.SaveText(f"{names}-{message.name}", message.text, ".csv"))

    @on(OptionList.OptionHighlighted)
    def _chosen(self, event: OptionList.OptionHighlighted) -> None:
        if self._compared is not None and event.option_index < len(self._compared.shared):
            self._answer(self._compared, event.option_index)

    @work(thread=True, group="answer", exclusive=True, exit_on_error=False)
    def _answer(self, compared: Compared, at: int) -> None:
        """Read the texts of a prompt."""
        one = compared.shared[at]
        texts = [(side, *side.text(one.id)) for side in compared.sides]
        scores = [side.answers[one.id].score if one.id in side.answers else None for side in compared.sides]
        replies = [
            Reply(f"{one_line(side.name, 40)}{'' if score is None else f' · {score:.0f}'}", clean(response))
            for (side, _, response), score in zip(texts, scores, strict=True)
        ]
        self.post_message(AnswersRead(clean(texts[0][1]), replies))

    @on(AnswersRead)
    async def _answers_read(self, message: AnswersRead) -> None:
        await self.query_one(ComparedAnswers).show(message.prompt, message.replies)

    # What is where

    def _show_pane(self, name: str) -> None:
        for one in panes.COMPARE:
            self.set_class(one == name, f"-on-{one}")
        self.query_one("#compare-tabs", Static).update(tabs(name, panes.COMPARE))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "pane":
            return not any(part.has_focus and part.is_on_screen for part in self.query(PARTS[str(parameters[0])]))
        return super().check_action(action, parameters)

    def action_pane(self, name: str) -> None:
        if self.maximized is not None:
            self.minimize()
        self._show_pane(name)
        self.call_after_refresh(self.query_one(PARTS[name], Widget).focus)
        self.call_after_refresh(self._write)

    def action_back(self) -> None:
        if self.maximized is not None:
            self.minimize()
        else:
            self.app.pop_screen()
