"""One run: its rounds, its log, its training, what it costs, and the decision when it waits for one.

The same while it works, attached later, or after its end: all of it comes from replaying the run's events.
"""

from __future__ import annotations

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

from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.screens.deciding import DecidingScreen, answering
from llamaduo_tui.views import machine, phrases
from llamaduo_tui.views.guide import Step, step
from llamaduo_tui.views.jsonl_index import kept
from llamaduo_tui.views.machine import Machine
from llamaduo_tui.views.run_list import WORKING
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.text import one_line
from llamaduo_tui.views.watcher import Watch
from llamaduo_tui.widgets import state_styles
from llamaduo_tui.widgets.card import Card
from llamaduo_tui.widgets.charts import Charts
from llamaduo_tui.widgets.diffed_static import Steady
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.log_view import LogView
from llamaduo_tui.widgets.timeline import Rounds, Timeline, progress
from llamaduo_tui.widgets.usage import Usage

LOOK_S = 0.25
MACHINE_S = 3.0
TICK_S = 1.0


@dataclass
class MachineSampled(Message):
    """How busy the machine is."""

    machine: Machine


class RunScreen(DecidingScreen):
    """What happens in a run, and what to press."""

    CSS_PATH = "run.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    AUTO_FOCUS = "Log"
    BINDINGS: ClassVar[list[BindingType]] = [
        *answering(show=True),
        Binding("v", "review", "Review", id="run.review", tooltip="Read the answers side by side with the verdicts"),
        Binding("p", "pause", "Pause", id="run.pause", tooltip="Hold the run in its tracks"),
        Binding("p", "go_on", "Go on", id="run.go_on", tooltip="Let the paused run go on"),
        Binding("r", "resume", "Resume", id="run.resume", tooltip="Start a worker that goes on from here"),
        Binding("r", "report", "Report", id="run.report", tooltip="What came of it, in plain words"),
        Binding("x", "stop", "Stop", id="run.stop", tooltip="Stop the run's worker, to resume later"),
        Binding("d", "data", "Data", id="run.data", tooltip="Read the pairs it learns from; keep or refuse new ones"),
        Binding("escape", "back", "Runs", id="run.back", tooltip="Back to all runs; this one goes on"),
        Binding("c", "charts", "Charts", id="run.charts", tooltip="Show or hide the training charts"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._left = threading.Event()
        self._offered: object = None

    def compose(self) -> ComposeResult:
        yield Steady(id="head", markup=False)
        with Horizontal(id="upper"):
            with Rounds(id="rounds"):
                yield Timeline()
            yield Usage()
        yield Steady(id="now", markup=False)
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
        watch, first = Watch(self.run, self._now), True
        while not self._left.is_set():
            try:
                with kept() if first else nullcontext():
                    news = watch.look()
                first = False
            except (OSError, ValueError, TypeError, KeyError) as error:
                self.post_message(messages.ReadFailed(f"{type(error).__name__}: {error}"))
                news = None
            if news is not None:
                self.post_message(messages.RunChanged(self.run, news))
            self._left.wait(LOOK_S)

    @work(thread=True, group="machine", exit_on_error=False)
    def _watch_machine(self) -> None:
        while not self._left.is_set():
            self.post_message(MachineSampled(machine.sample()))
            self._left.wait(MACHINE_S)

    @on(messages.RunChanged)
    def _changed(self, message: messages.RunChanged) -> None:
        if not self.query(Card):  # on its way out
            return
        news = message.news
        self.take(news)
        self.query_one(LogView).add(news.events, news.output)
        self.query_one(Charts).show(news.view)
        self.query_one(Usage).show(news.view.usage, self.budget)
        self._draw()
        offered = (self.state, _complete(self.view), len(self.view.sections))
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def tour(self) -> Step:
        return step(self.view, self.state)

    def show_guide(self) -> None:
        super().show_guide()
        if self.news is not None:
            self._draw()

    @on(LogView.Save)
    def _save(self, message: LogView.Save) -> None:
        self.post_message(messages.SaveText(f"{self.run.name}-{message.source}", message.text))

    @on(MachineSampled)
    def _sampled(self, message: MachineSampled) -> None:
        for usage in self.query(Usage):
            usage.show_machine(message.machine)

    @on(messages.ReadFailed)
    def _read_failed(self, message: messages.ReadFailed) -> None:
        self.notify(one_line(message.error, 200), title="cannot be read", severity="error", markup=False)

    def on_resize(self) -> None:
        self._draw()

    def _tick(self) -> None:
        if self.state in WORKING and self.query(Card):
            self._draw()

    def _now(self) -> float:
        return float(self.app.clock())  # type: ignore[attr-defined]

    def _draw(self) -> None:
        """The time goes on between events: what shows it is drawn again."""
        now = self._now()
        top = self.query_one("#head", Steady)
        top.put(head(self.run, self.view, self.state, now, top.content_size.width))
        self.query_one(Timeline).show(self.view, self.target, now, self.state not in ("crashed", "failed"))
        self.call_after_refresh(self.query_one(Rounds).show_newest)
        box = self.query_one("#now", Steady)
        box.display = not self.has_class("-asks") and (self.view.ended or not self.guided)
        title, said = happening(self.view, self.state)
        if box.border_title != title:
            box.border_title = title
        box.put(said)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "pause":
                return self.state in ("running", "stale")
            case "go_on":
                return self.state == "paused"
            case "resume":
                return self.state in ("stopped", "failed", "crashed") and not _complete(self.view)
            case "report":
                return _complete(self.view) and self.state not in WORKING
            case "stop":
                return self.state in WORKING
            case "review":
                return any(section.score is not None for section in self.view.sections)
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

    def action_review(self) -> None:
        self.post_message(messages.ReviewRun(self.run))

    def action_report(self) -> None:
        self.post_message(messages.ShowReport(self.run))

    def action_data(self) -> None:
        self.post_message(messages.ShowData(self.run))

    def action_charts(self) -> None:
        """On a narrow terminal the charts stand in for the log, on a wide one beside it."""
        self.toggle_class("-swapped")
        self.call_after_refresh(self._focus_lower)

    def _focus_lower(self) -> None:
        (self.query_one(Log) if self.query_one(LogView).display else self.query_one(Charts)).focus()


def head(run: Run, view: RunView, state: str, now: float, width: int) -> Content:
    """Name, state and age of the run; from which LLM to which model; whether the service is the sandbox."""
    mark = state_styles.of(state)
    until = view.updated if view.ended or state not in WORKING else now
    age = f" · {phrases.duration(until - view.began)}" if view.began else ""
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


def happening(view: RunView, state: str) -> tuple[str, Content]:
    """A title and a sentence for a newcomer: what happens now and why, or how it ended and what to do next."""
    if view.failure is not None and state not in WORKING:
        failed = view.failure
        return "failed", Content.assemble(("✗ ", "$text-error"), one_line(failed.error, 300), _next(failed.hint))
    if view.outcome is not None and state not in WORKING:
        outcome = view.outcome
        report = f"r for the report, {outcome.report}"
        mark = state_styles.of(outcome.state)
        then = " The small model can take over." if outcome.state == "reached" else ""
        ended, why = (f"{mark.sign} ", mark.style), f"{one_line(outcome.reason, 300)}{then}"
        return "the end", Content.assemble(ended, why, _next(report if outcome.report else "r to go on from here"))
    if state == "crashed":
        gone = "The worker is gone: killed, out of memory, or the machine restarted. What it had done is kept."
        return "crashed", Content.assemble(gone, _next("r to go on from there; o for the output, which tells more"))
    if state == "stale":
        return "no sign of life", Content(
            "The worker's heartbeat is late: a busy disk, a full one, or another machine."
        )
    if state == "paused":
        return "paused", Content("The run is held in its tracks and costs nothing.") + _next("p to let it go on")
    place = "now"
    if view.current is not None:
        section, stage = view.current
        place = f"now: {phrases.part(section.part)}, {one_line(stage.name, 40)}"
        if stage.total:
            place = f"{place} · {progress(stage)}"
    return place.replace("[", "("), Content(phrases.explain(view))


def _next(said: str) -> Content:
    """A line of its own with what to do, if that is known."""
    return Content.assemble(("\n▸ ", "bold $text-accent"), (one_line(said, 300), "bold")) if said else Content()


def _complete(view: RunView) -> bool:
    return view.outcome is not None and view.outcome.report is not None
