"""Runs side by side: their facts, scores and differing settings, their losses overlaid, and their answers."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList, Static, TabbedContent, TabPane
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.views import compare_lines, figures
from llamaduo_tui.views.compare import Compared, compare
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.keyed_list import KeyedList
from llamaduo_tui.widgets.keyed_scroll import KeyedScroll
from llamaduo_tui.widgets.plots import Plots

LISTED = 300
"""Prompts that the list of answers has, those with the greatest difference."""


class CompareScreen(Screen[None]):
    """Reads the runs once, in a thread; `1`, `2` and `3` choose what is shown."""

    CSS_PATH = "compare.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (72, "-wide")]  # noqa: RUF012 - as Textual declares it
    AUTO_FOCUS = "#overview KeyedScroll"
    HELP = """
## Compare

**1** Each run in the round of its best scores: facts, scores with their bounds on one axis, and settings that differ.
**2** The losses of these rounds' trainings, each with its digit: lines on training pairs, digits on dev prompts. Arrows
left and right, or a click, read the values at a step; `L` draws a logarithmic axis, `+` and `-` zoom, `w` saves.
**3** The dev prompts that the first two runs share, those with the greatest difference first, with the answers of all.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back", id="compare.back", tooltip="Back to the runs"),
        Binding("1", "tab('overview')", "Scores", id="compare.scores", tooltip="Facts, scores and settings"),
        Binding("2", "tab('losses')", "Losses", id="compare.losses", tooltip="The losses of all, overlaid"),
        Binding("3", "tab('answers')", "Answers", id="compare.answers", tooltip="The same prompts with all answers"),
    ]

    def __init__(self, runs: list[Run]) -> None:
        super().__init__()
        self._runs = runs
        self._compared: Compared | None = None

    def compose(self) -> ComposeResult:
        names = ", ".join(one_line(run.name, 30) for run in self._runs)
        yield Static(Content.assemble(("Compare", "bold"), f"  {names}"), id="compare-title")
        with TabbedContent(initial="overview"):
            with TabPane("1 Scores and settings", id="overview"), KeyedScroll():
                yield Static("Reading ...", id="compare-text", markup=False)
            with TabPane("2 Losses", id="losses"):
                yield Plots()
            with TabPane("3 Answers", id="answers"), Horizontal():
                with Vertical(id="compare-prompts"):
                    yield Static("1st  2nd  +/-  prompt", id="compare-columns")
                    yield KeyedList(markup=False)
                with KeyedScroll():
                    yield Static(id="compare-answers", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self._read()

    @work(thread=True, group="compare", exit_on_error=False)
    def _read(self) -> Compared:
        with gc_paused():
            return compare([(run, None) for run in self._runs])

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.group != "compare":
            return
        if event.state is WorkerState.SUCCESS and isinstance(event.worker.result, Compared):
            self._show(event.worker.result)
        elif event.state is WorkerState.ERROR and (error := event.worker.error) is not None:
            said = f"{error.message}; {error.hint}" if isinstance(error, LlamaDuoError) else str(error)
            self.query_one("#compare-text", Static).update(clean(said))

    def _show(self, compared: Compared) -> None:
        self._compared = compared
        self._write()
        rows = [
            Option(f"{one.first:3.0f} {one.second:4.0f} {one.gain:+4.0f}  {one_line(one.id, 40)}")
            for one in compared.shared[:LISTED]
        ]
        self.query_one(OptionList).set_options(rows or [Option("No dev prompt is in both.", disabled=True)])
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

    def on_resize(self) -> None:
        self._write()

    def _write(self) -> None:
        """Write the first tab, in the width of the terminal."""
        if self._compared is not None:
            told = compare_lines.lines(self._compared, width=self.size.width - 4)
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
        """Read the texts of a prompt, and show them."""
        one = compared.shared[at]
        texts = [(side, *side.text(one.id)) for side in compared.sides]
        parts: list[tuple[str, str] | str] = [("prompt\n", "bold $text-accent"), clean(texts[0][1])]
        for side, _, response in texts:
            scored = side.answers[one.id].score if one.id in side.answers else None
            score = "" if scored is None else f"  {scored:.0f}"
            parts += ["\n\n", (f"{one_line(side.name, 40)}{score}\n", "bold $text-accent"), clean(response)]
        self.app.call_from_thread(self.query_one("#compare-answers", Static).update, Content.assemble(*parts))

    def action_tab(self, name: str) -> None:
        self.query_one(TabbedContent).active = name
        self.call_after_refresh(self._focus_tab, name)

    def _focus_tab(self, name: str) -> None:
        """Focus what scrolls in a tab, once it is shown."""
        if name == "answers":
            self.query_one(OptionList).focus()
        elif name == "losses":
            self.query_one(Plots).focus()
        elif name == "overview":
            self.query_one("#overview KeyedScroll", KeyedScroll).focus()
