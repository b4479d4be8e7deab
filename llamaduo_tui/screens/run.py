"""One run: its rounds, log, training and costs, and its question while it waits for an answer.

It is the same while the run works, attached later, or after the end: it replays the run's events.
"""

from __future__ import annotations

import os
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Input, Log

from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui import messages
from llamaduo_tui.screens.question import answering
from llamaduo_tui.screens.watching import AnswersRead, MachineSampled, WatchingScreen
from llamaduo_tui.views import panes, phrases, takeover
from llamaduo_tui.views.guide import Step, step
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import design, state_styles
from llamaduo_tui.widgets.answers_view import AnswersView
from llamaduo_tui.widgets.cards.card import Card
from llamaduo_tui.widgets.charts import Charts
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.end_card import EndCard
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.log_view import LogView
from llamaduo_tui.widgets.run_head import happening, head, tabs
from llamaduo_tui.widgets.timeline import Rounds, Timeline
from llamaduo_tui.widgets.usage import Usage

TICK_S = 1.0

LEAST, FRAME = 8, 2
"""Lines of the rounds at least, and those of their frame."""

CHANGING = ("pause", "go_on", "resume", "stop", "drop", "review", "data", "release", "takeover")
"""What only the run's owner may do; reviews and pairs are shown with the prompts that others may not read."""


PANES: dict[str, type[Widget]] = {"scores": Rounds, "answers": AnswersView, "log": Log, "charts": Charts}
"""The parts of the screen that a key each goes to, and what has the focus there. The smallest screens show one."""


_HALTED = (State.CRASHED, State.FAILED, State.UNREADABLE)
"""States of a run at which nothing works, and which says why."""


class RunScreen(WatchingScreen):
    """The progress of a run, and the keys for it."""

    CSS_PATH = "run.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-small"), (80, "-narrow"), (110, "-wide"), (160, "-vast")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    AUTO_FOCUS = "Log"
    BINDINGS: ClassVar[list[BindingType]] = [
        *answering(show=True),
        Binding("v", "review", "Review", id="run.review", tooltip="Read the responses and their verdicts"),
        Binding("p", "pause", "Pause", id="run.pause", tooltip="Pause the run"),
        Binding("p", "go_on", "Continue", id="run.go_on", tooltip="Continue the paused run"),
        Binding("r", "resume", "Resume", id="run.resume", tooltip="Start a worker that continues from here"),
        Binding("r", "report", "Report", id="run.report", tooltip="Read the report"),
        Binding("o", "release", "Release", id="run.release", tooltip="Write the model for servers"),
        Binding("t", "takeover", "Take-over", id="run.takeover", tooltip="See which side answers, and change it"),
        Binding("x", "stop", "Stop", id="run.stop", tooltip="Stop the worker; you can resume later"),
        Binding(
            "x", "drop", "Drop calls", id="run.drop", tooltip="Stop without the calls in flight; they may be billed"
        ),
        Binding("d", "data", "Data", id="run.data", tooltip="Read the pairs it learns from; keep or refuse new ones"),
        Binding("escape", "back", "Runs", id="run.back", tooltip="Back to all runs; this run continues"),
        Binding("c", "charts", "Charts", id="run.charts", tooltip="Show or hide the charts"),
        Binding(
            "C", "whole_charts", "Whole charts", False, id="run.whole_charts", tooltip="Charts on the whole screen"
        ),
        Binding("1", "pane('scores')", "Scores", False, id="run.scores", tooltip="To the rounds and their scores"),
        Binding("2", "pane('answers')", "Answers", id="run.answers", tooltip="To the worst answers"),
        Binding("3", "pane('log')", "Log", id="run.log", tooltip="To the log"),
        Binding("4", "pane('charts')", "Charts alone", False, id="run.only_charts", tooltip="To the charts alone"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._offered: object = None
        self._reported = ""
        self._wanted = ""
        self._read_of: object = None
        self._own: list[str] = []

    def compose(self) -> ComposeResult:
        design.fit(self)
        yield DiffedStatic(id="head", markup=False)
        yield DiffedStatic(id="tabs", markup=False)
        with Container(id="body"):
            with Vertical(id="left"):
                with Horizontal(id="upper"):
                    with Rounds(id="rounds"):
                        yield Timeline()
                    yield Usage()
                with Vertical(id="question"):
                    yield DiffedStatic(id="now", markup=False)
                    yield EndCard(self.run)
                    yield from self.cards()
                yield AnswersView()
            with Container(id="lower"):
                yield LogView()
                yield Charts()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#rounds").border_title = panes.titled("scores", "rounds and scores")
        self.query_one(Usage).border_title = "service and machine"
        self._lay_out()
        self._draw()
        self.watch_run()
        self.watch_machine()
        self.set_interval(TICK_S, self._tick)

    @on(messages.RunChanged)
    def _changed(self, message: messages.RunChanged) -> None:
        if not self.query(Card):  # closing
            return
        self._reported = ""
        update = message.update
        self.take(update)
        self.ready = True
        self.query_one(LogView).add(update.events, update.output)
        self.query_one(Charts).show(update.view, self.target)
        ahead = update.outlook if self.state.working else None
        self.query_one(Usage).show(
            update.view.usage,
            self.budget,
            ahead,
            self.state is State.RUNNING,
            update.outlook is None or update.outlook.usd is not None,
        )
        self._level()
        self._lay_out()
        self._draw()
        self._read_answers()
        offered = (self.state, len(self.view.sections))
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _read_answers(self) -> None:
        """Read the worst answers, again where more is scored."""
        decided = (len(self.view.scored), self.view.outcome is not None and self.view.outcome.state.ended)
        if any(decided) and decided != self._read_of:
            self._read_of = decided
            self.find_answers(decided, sealed=decided[1] and self.mine)

    @on(AnswersRead)
    def _answers_read(self, message: AnswersRead) -> None:
        if message.of == self._read_of and self.query(AnswersView):
            self.set_class(message.answers is not None, "-answered")
            self.query_one(AnswersView).show(message.answers)
            self._lay_out()
            self.refresh_bindings()

    # What is where

    @property
    def pane(self) -> str:
        """The part that the keys have chosen; before that the log, and at rest the answers where there are some.

        The smallest screens begin with the scores.
        """
        if self._wanted:
            return self._wanted
        if self.has_class("-small"):
            return "scores"
        rests = self.latest is not None and (self.view.question is not None or self.view.concluded)
        return "answers" if rests and self.has_class("-answered") else "log"

    def _lay_out(self) -> None:
        """Show the part that is wanted, and what stands next to it in this width; the focus goes on with it."""
        for name in PANES:
            self.set_class(name == self.pane, f"-on-{name}")
        self.query_one("#tabs", DiffedStatic).put(tabs(self.pane))
        self.call_after_refresh(self._keep_focus)

    def _keep_focus(self) -> None:
        """Move the focus to the pane that is shown where what had it is hidden."""
        if self.is_current and (self.focused is None or not self.focused.is_on_screen):
            for found in self.query(PANES[self.pane]):
                found.focus()

    def action_pane(self, name: str) -> None:
        self._wanted = name
        self._lay_out()
        self.call_after_refresh(self.query_one(PANES[name]).focus)
        self.refresh_bindings()

    def tour(self) -> Step:
        return step(self.view, self.state)

    def show_guide(self) -> None:
        super().show_guide()
        if self.latest is not None:
            self.query_one(EndCard).show(self.latest, self.target, self.guided)
            self._draw()

    @on(LogView.Save)
    def _save(self, message: LogView.Save) -> None:
        self.post_message(messages.SaveText(f"{self.run.name}-{message.source}", message.text))

    @on(Charts.Save)
    def _save_chart(self, message: Charts.Save) -> None:
        self.post_message(messages.SaveText(f"{self.run.name}-{message.name}", message.text, ".csv"))

    @on(MachineSampled)
    def _sampled(self, message: MachineSampled) -> None:
        if message.recorded:
            self._own = [gpu.index for gpu in message.recorded[-1].machine.gpus]
        for usage in self.query(Usage):
            usage.show_machine(message.machine, self._own)
        self._level()
        if message.recorded is not None:
            for charts in self.query(Charts):
                charts.show_machine(message.recorded)

    def _level(self) -> None:
        """Give the rounds the height of the figures next to them."""
        for rounds in self.query(Rounds):
            beside = self.has_class("-wide") or self.has_class("-vast")
            rounds.styles.min_height = max(LEAST, self.query_one(Usage).wanted + FRAME) if beside else None

    @on(messages.ReadFailed)
    def _read_failed(self, message: messages.ReadFailed) -> None:
        """Report a problem once, though each poll finds it."""
        message.stop()
        self.ready = True
        if message.error != self._reported:
            self._reported = message.error
            self.notify(one_line(message.error, 300), title="cannot be read", severity="error", markup=False)

    def on_resize(self) -> None:
        self._lay_out()
        self._draw()

    def _tick(self) -> None:
        if self.state.working and self.query(Card):
            self._draw()

    def _draw(self) -> None:
        """Draw again what shows the time, which passes between events, too."""
        now = self.now()
        top = self.query_one("#head", DiffedStatic)
        owner = self.latest.owner if self.latest is not None else ""
        mark = state_styles.of(self.state, self.mine)
        top.put(head(self.run, self.view, mark, self.state, now, top.content_size.width, owner))
        self.query_one(Timeline).show(self.view, self.target, now, self.state not in _HALTED)
        self.call_after_refresh(self.query_one(Rounds).show_newest)
        box = self.query_one("#now", DiffedStatic)
        untold = (*_HALTED, State.STOPPING, State.STALE)  # the guide does not say why
        waits = phrases.unanswered(self.silent_since, now)
        shown = self.view.concluded or not self.guided or self.state in untold or bool(waits)
        box.display = shown and not self.has_class("-asks") and not self.query_one(EndCard).display
        title, said = happening(self.view, self.state, self.stopping, now, self.gone, waits, mine=self.mine)
        if box.border_title != title:
            box.border_title = title
        box.put(said)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.mine and action in CHANGING:
            return False
        match action:
            case "pause":
                return self.state in (State.RUNNING, State.STALE)
            case "go_on":
                return self.state is State.PAUSED
            case "resume":
                return self.state.resumable and self.state is not State.NEW
            case "report":
                return self.state.ended and os.access(self.run.report_file, os.R_OK)
            case "release":
                return self.state.ended
            case "takeover":
                return takeover.exists(self.run)
            case "stop":
                return self.state.working and self.state is not State.STOPPING
            case "drop":
                return self.state is State.STOPPING
            case "review":
                return bool(self.view.scored)
            case "more" if any(card.has_more for card in self.query(EndCard)):
                return True
            case "pane":
                name = str(parameters[0])
                here = isinstance(self.focused, PANES[name])
                return not here and (name != "answers" or self.has_class("-answered"))
        return super().check_action(action, parameters)

    def action_more(self) -> None:
        ended = self.query_one(EndCard)
        if ended.display:
            ended.toggle_more()
        else:
            super().action_more()

    def action_back(self) -> None:
        if self.maximized is not None:
            self.minimize()
        elif isinstance(self.focused, Input):
            self.query_one(Log).focus()
        else:
            self.dismiss()

    def action_pause(self) -> None:
        self.post_message(messages.PauseRun(self.run, on=True))

    def action_go_on(self) -> None:
        self.post_message(messages.PauseRun(self.run, on=False))

    def action_resume(self) -> None:
        self.post_message(messages.ResumeRun(self.run))

    def action_drop(self) -> None:
        self.action_stop()

    def action_review(self) -> None:
        self.post_message(messages.ReviewRun(self.run))

    def action_report(self) -> None:
        self.post_message(messages.ShowReport(self.run))

    def action_release(self) -> None:
        self.post_message(messages.ShowRelease(self.run))

    def action_takeover(self) -> None:
        self.post_message(messages.ShowTakeover(self.run))

    def action_data(self) -> None:
        self.post_message(messages.ShowData(self.run))

    def action_charts(self) -> None:
        """Show the charts, whose keys work then, or hide them: in place of the log, next to it where there is room."""
        aside, charts = self.has_class("-wide") or self.has_class("-vast"), self.query_one(Charts)
        hidden = not charts.is_on_screen
        if not hidden:
            self.set_class(aside, "-swapped")
            self._wanted = "log"
        else:
            self.remove_class("-swapped")
            self._wanted = "log" if aside else "charts"
        self._lay_out()
        self.call_after_refresh((charts if hidden else self.query_one(PANES[self._wanted])).focus)

    def action_whole_charts(self) -> None:
        """The charts on the whole screen, wherever the focus is; again, or escape, goes back."""
        charts = self.query_one(Charts)
        if not charts.is_on_screen:
            self.action_charts()
        self.call_after_refresh(charts.action_maximize)
