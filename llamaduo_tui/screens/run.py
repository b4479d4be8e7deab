"""One run: its rounds, log, training and costs, and its question while it waits for an answer.

It is the same while the run works, attached later, or after the end: it replays the run's events.
"""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Log

from engine.protocol.durations import duration
from engine.protocol.errors import LlamaDuoError
from engine.protocol.machine import Machine, MachineRow
from engine.protocol.run_dir import Run
from engine.protocol.status import State, Stopping
from llamaduo_tui import messages
from llamaduo_tui.screens.question import QuestionScreen, answering
from llamaduo_tui.views import machine, phrases, takeover
from llamaduo_tui.views.guide import Step, step
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.questions import wording
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.text import one_line
from llamaduo_tui.views.watcher import RunWatcher
from llamaduo_tui.widgets import state_styles
from llamaduo_tui.widgets.cards.card import Card
from llamaduo_tui.widgets.charts import Charts
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.log_view import LogView
from llamaduo_tui.widgets.timeline import Rounds, Timeline, progress
from llamaduo_tui.widgets.usage import Usage

POLL_S = 0.25
MACHINE_S = 3.0
TICK_S = 1.0

CHANGING = ("pause", "go_on", "resume", "stop", "drop", "review", "data", "release", "takeover")
"""What only the run's owner may do; reviews and pairs are shown with the prompts that others may not read."""


@dataclass
class MachineSampled(Message):
    """How busy the machine is, and all that the run has recorded of its own, where that is new."""

    machine: Machine
    recorded: tuple[MachineRow, ...] | None


class RunScreen(QuestionScreen):
    """The progress of a run, and the keys for it."""

    CSS_PATH = "run.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - as Textual declares it
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
        Binding("C", "whole_charts", "Charts", False, id="run.whole_charts", tooltip="The charts on the whole screen"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._left = threading.Event()
        self._offered: object = None
        self._reported = ""

    def compose(self) -> ComposeResult:
        yield DiffedStatic(id="head", markup=False)
        with Horizontal(id="upper"):
            with Rounds(id="rounds"):
                yield Timeline()
            yield Usage()
        yield DiffedStatic(id="now", markup=False)
        yield from self.cards()
        with Horizontal(id="lower"):
            yield LogView()
            yield Charts()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#rounds").border_title = "rounds"
        self.query_one(Usage).border_title = "service and machine"
        self._draw()
        self._watch_run()
        self._watch_machine()
        self.set_interval(TICK_S, self._tick)

    def on_unmount(self) -> None:
        self._left.set()

    @work(thread=True, group="watch", exit_on_error=False)
    def _watch_run(self) -> None:
        watcher, first = RunWatcher(self.run, self._now), True
        while not self._left.is_set():
            try:
                with gc_paused() if first else nullcontext():
                    update = watcher.poll(self._left.is_set)
                first = False
            except (OSError, ValueError, TypeError, KeyError) as error:
                self.post_message(messages.ReadFailed(_problem(error)))
                update = None
            if update is not None:
                self.post_message(messages.RunChanged(self.run, update))
            self._left.wait(POLL_S)

    @work(thread=True, group="machine", exit_on_error=False)
    def _watch_machine(self) -> None:
        history = machine.History(self.run)
        while not self._left.is_set():
            recorded = None
            try:
                recorded = history.new()
            except (OSError, LlamaDuoError) as error:
                self.post_message(messages.ReadFailed(_problem(error)))
            self.post_message(MachineSampled(machine.sample(), recorded))
            self._left.wait(MACHINE_S)

    @on(messages.RunChanged)
    def _changed(self, message: messages.RunChanged) -> None:
        if not self.query(Card):  # closing
            return
        self._reported = ""
        update = message.update
        self.take(update)
        self.query_one(LogView).add(update.events, update.output)
        self.query_one(Charts).show(update.view, self.target)
        ahead = update.outlook if self.state.working else None
        self.query_one(Usage).show(update.view.usage, self.budget, ahead)
        self._draw()
        offered = (self.state, len(self.view.sections))
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def tour(self) -> Step:
        return step(self.view, self.state)

    def show_guide(self) -> None:
        super().show_guide()
        if self.latest is not None:
            self._draw()

    @on(LogView.Save)
    def _save(self, message: LogView.Save) -> None:
        self.post_message(messages.SaveText(f"{self.run.name}-{message.source}", message.text))

    @on(Charts.Save)
    def _save_chart(self, message: Charts.Save) -> None:
        self.post_message(messages.SaveText(f"{self.run.name}-{message.name}", message.text, ".csv"))

    @on(MachineSampled)
    def _sampled(self, message: MachineSampled) -> None:
        for usage in self.query(Usage):
            usage.show_machine(message.machine)
        if message.recorded is not None:
            for charts in self.query(Charts):
                charts.show_machine(message.recorded)

    @on(messages.ReadFailed)
    def _read_failed(self, message: messages.ReadFailed) -> None:
        """Report a problem once, though each poll finds it."""
        message.stop()
        if message.error != self._reported:
            self._reported = message.error
            self.notify(one_line(message.error, 300), title="cannot be read", severity="error", markup=False)

    def on_resize(self) -> None:
        self._draw()

    def _tick(self) -> None:
        if self.state.working and self.query(Card):
            self._draw()

    def _now(self) -> float:
        return float(self.app.clock())  # type: ignore[attr-defined]

    def _draw(self) -> None:
        """Draw again what shows the time, which passes between events, too."""
        now = self._now()
        top = self.query_one("#head", DiffedStatic)
        top.put(head(self.run, self.view, self.state, now, top.content_size.width))
        self.query_one(Timeline).show(self.view, self.target, now, self.state not in (State.CRASHED, State.FAILED))
        self.call_after_refresh(self.query_one(Rounds).show_newest)
        box = self.query_one("#now", DiffedStatic)
        untold = (State.STOPPING, State.CRASHED, State.FAILED, State.STALE)  # the guide does not say why
        shown = self.view.concluded or not self.guided or self.state in untold
        box.display = shown and not self.has_class("-asks")
        title, said = happening(self.view, self.state, self.stopping, now, self.gone, guided=self.guided)
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
        return super().check_action(action, parameters)

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
        """On a narrow terminal the charts replace the log, on a wide one they are next to it."""
        self.toggle_class("-swapped")
        self.call_after_refresh(self._focus_lower)

    def action_whole_charts(self) -> None:
        """The charts on the whole screen, wherever the focus is; again, or escape, goes back."""
        charts = self.query_one(Charts)
        if not charts.display:
            self.toggle_class("-swapped")
        self.call_after_refresh(charts.action_maximize)

    def _focus_lower(self) -> None:
        (self.query_one(Log) if self.query_one(LogView).display else self.query_one(Charts)).focus()


def _problem(error: Exception) -> str:
    """Why a run cannot be read, and what to do about it where that is known."""
    if isinstance(error, LlamaDuoError):
        return "; ".join(filter(None, (error.message, error.hint)))
    return f"{type(error).__name__}: {error}"


def head(run: Run, view: RunView, state: State, now: float, width: int) -> Content:
    """Name, state and age of the run; from which LLM to which model; whether the service is the sandbox."""
    mark = state_styles.of(state)
    until = view.updated if view.concluded or not state.working else now
    age = f" · {duration(until - view.began)}" if view.began else ""
    first = Content.assemble(
        (f" {one_line(run.name, 40)} ", "bold reverse"), "  ", mark.content, (age, "$foreground-muted")
    )
    started = view.started
    if started is None:
        return first
    route = Content.assemble(
        ("from ", "$foreground-muted"),
        one_line(started.service, 60),
        (" to ", "$foreground-muted"),
        (one_line(started.model, 60), "bold"),
    )
    sandbox = Content.styled(f" {phrases.SANDBOX}", "$text-warning") if started.sandbox else Content()
    room = width - first.cell_length - 3
    if route.cell_length <= room:
        first = Content.assemble(first, " " * (room - route.cell_length + 3), route)
        return Content("\n").join([first, sandbox])
    return Content("\n").join([first, route if not started.sandbox else sandbox])


def happening(
    view: RunView, state: State, stopping: Stopping | None, now: float, gone: str, *, guided: bool = False
) -> tuple[str, Content]:
    """A title and a sentence for a newcomer: the current work and its purpose, or the end and the next step.

    The guide, where it is shown, says what to press at the end. `gone` is which worker is gone.
    """
    if view.failure is not None and not state.working:
        failed = view.failure
        return "failed", Content.assemble(("✗ ", "$text-error"), one_line(failed.error, 300), _next(failed.hint))
    if view.outcome is not None and not state.working:
        outcome = view.outcome
        report = "" if guided else f"o to release the model; r for the report, {outcome.report}"
        mark = state_styles.of(outcome.state)
        then = " The small model can take over." if outcome.state is State.REACHED and not guided else ""
        ended, why = (f"{mark.sign} ", mark.style), f"{one_line(outcome.reason, 800)}{then}"
        return "the end", Content.assemble(ended, why, _next(report if outcome.state.ended else "r to resume"))
    if state is State.CRASHED:
        said = f"{gone[:1].upper()}{gone[1:]}: killed, out of memory, or the machine restarted. Finished work is kept."
        return "crashed", Content.assemble(said, _next("r to resume; O for the output, which may show why"))
    if state is State.STALE:
        return "no heartbeat", Content(
            "The worker has not reported for a while: its disk is busy or full, or its machine cannot be reached."
        )
    if state is State.STOPPING and stopping is not None:
        waits = f"The run {stopping.said(now)}: they are paid for. No other is sent."
        return "stopping", Content(waits) + _next("x to drop them: they may be billed, and resume sends them again")
    if state is State.PAUSED:
        return "paused", Content("The run is paused: it makes no calls and costs nothing.") + _next("p to continue")
    explained = wording(view.question.kind).explain if view.question is not None else phrases.explain(view)
    place = "now"
    if view.current is not None:
        section, stage = view.current
        place = f"now: {phrases.part(section.part)}, {one_line(stage.name, 40)}"
        if stage.total:
            place = f"{place} · {progress(stage)}"
    return place.replace("[", "("), Content(explained)


def _next(said: str) -> Content:
    """A separate line with the next step, if that is known."""
    return Content.assemble(("\n▸ ", "bold $text-accent"), (one_line(said, 300), "bold")) if said else Content()
