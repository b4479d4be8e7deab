"""The take-over of a run: who answers, how well, how fast, for how much; and the keys that change it."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, Sparkline, Static
from textual.worker import Worker, WorkerState

from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from engine.protocol.takeover import DoorCommand, Mode
from llamaduo_tui.key_turns import ASKS
from llamaduo_tui.screens.confirm import ConfirmScreen
from llamaduo_tui.screens.opening import Opening
from llamaduo_tui.views import guide, takeover, worth
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.widgets import design
from llamaduo_tui.widgets.course import Course
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.facts import Fact, Facts, fact
from llamaduo_tui.widgets.guide_line import GuideLine
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.line_input import LineInput

REFRESH_S = 1.0
MUTED = "$foreground-muted"
WORTH_S = 30.0
"""Between two looks at what the move is worth, which read more files."""

STEPS = (0.02, 0.05, 0.1, 0.2, 0.33, 0.5, 1.0)


class TakeoverScreen(Opening, Screen[None]):
    """What the door's journal says, once a second."""

    CSS_PATH = "takeover.tcss"
    AUTO_FOCUS = "VerticalScroll"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (48, "-tall")]  # noqa: RUF012
    HELP = """
## Take-over

The door answers with the service or with the local model, by its mode. **share** is what the canary gives to the local
model: it rises as the comparisons show more, and ends where they show harm. **compared** is the mean difference, local
minus service in points, with bounds that hold at all times; all traffic takes a lower bound above the threshold, the
margin. The charts show both after each comparison. The money is by the service's prices.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", id="takeover.back", tooltip="Back to the run; the door continues"),
        Binding("space", "pause", "Pause", id="takeover.pause", tooltip="The service answers everything, for a while"),
        Binding("space", "go_on", "Continue", id="takeover.go_on", tooltip="Answer by the mode again"),
        Binding("plus", "share(1)", "More", id="takeover.more", key_display="+", tooltip="Raise the canary's share"),
        Binding("minus", "share(-1)", "Less", id="takeover.less", key_display="-", tooltip="Lower the canary's share"),
        Binding("b", "back_out", "Roll back", id="takeover.roll_back", tooltip="The service answers, at once"),
        Binding("t", "try", "Try", id="takeover.try", tooltip="Ask one prompt of both sides; the service is paid"),
        Binding("h", "guide", "Guide", False, id="takeover.guide", tooltip="Hide or show the demo's guide"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.view = takeover.TakeoverView()
        self._failed = ""
        self._demo = False

    def compose(self) -> ComposeResult:
        design.fit(self)
        title = Content.assemble(("Take-over", "bold"), f"  {one_line(self.run.name, 40)}")
        yield Static(title, id="takeover-title")
        yield GuideLine()
        with VerticalScroll():
            yield Facts("figures", MUTED)
            yield Course()
            with Horizontal(id="sides"):
                for side in ("service", "local"):
                    with Vertical():
                        for name in (side, f"{side}-slow"):
                            yield DiffedStatic(id=f"{name}-label", classes="label", markup=False)
                            yield Sparkline([0], id=f"{name}-chart", classes="chart")
            yield Facts("worth", MUTED)
            yield Facts("events", MUTED)
            with Horizontal(id="answers"):
                yield Static(id="service-answer", markup=False)
                yield Static(id="local-answer", markup=False)
        yield LineInput(placeholder="A prompt for both sides; Enter asks, Escape leaves", id="prompt")
        yield KeyBar()

    def on_mount(self) -> None:
        self._read()
        self.set_interval(REFRESH_S, self._read)
        self._read_worth()
        self.set_interval(WORTH_S, self._read_worth)
        self._read_demo()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        state = self.view.state
        working = self.view.status is not None and self.view.status.alive and state is not None
        match action:
            case "pause" | "go_on":
                return working and state is not None and state.paused is (action == "go_on")
            case "share":
                canary = working and state is not None and state.mode is Mode.CANARY and not state.rolled_back
                return canary and not isinstance(self.focused, Input)  # in which + and - are text
            case "back_out":
                return working and state is not None and not state.rolled_back
            case "try":
                return working
            case "guide":
                return self._demo
        return super().check_action(action, parameters)

    @work(thread=True, group="takeover-read", exclusive=True, exit_on_error=False)
    def _read(self) -> takeover.TakeoverView:
        return takeover.read(self.run)

    @work(thread=True, group="takeover-worth", exclusive=True, exit_on_error=False)
    def _read_worth(self) -> list[tuple[str, str]]:
        return worth.read(self.run)

    @work(thread=True, group="takeover-demo", exit_on_error=False)
    def _read_demo(self) -> bool:
        return guide.leads_in(self.run)

    @work(thread=True, group="takeover-tell", exit_on_error=False)
    def _tell(self, command: DoorCommand) -> None:
        from llamaduo_tui.control import takeover as control

        control.tell(self.run, command)

    @work(thread=True, group="takeover-try", exit_on_error=False)
    def _ask(self, prompt: str, side: str) -> tuple[str, str]:
        return side, takeover.try_prompt(self.view, prompt, side)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            error, self.ready = event.worker.error, True
            said = error.message if isinstance(error, LlamaDuoError) else str(error)
            if said != self._failed:
                self._failed = said
                self.notify(clean(said), title="Take-over", severity="error", markup=False)
        elif event.state is WorkerState.SUCCESS:
            result = event.worker.result
            if isinstance(result, takeover.TakeoverView):
                self._show(result)
            elif isinstance(result, list):
                self.query_one("#worth", Facts).show(_named(result))
            elif isinstance(result, bool):
                self._demo = result
                self._show_guide()
            elif isinstance(result, tuple):
                side, answer = result
                self.query_one(f"#{side}-answer", Static).update(clean(answer))
                self.call_after_refresh(self._show_answers)

    def _show(self, view: takeover.TakeoverView) -> None:
        """Draw what has changed."""
        self.view, self._failed, self.ready = view, "", True
        self.query_one("#figures", Facts).show(_named(takeover.lines(view)))
        self._show_guide()
        for side in ("service", "local"):
            counts = view.minutes[side]
            asked = Content(f"{side}: requests a minute, last hour; now {counts[-1]:,}")
            self.query_one(f"#{side}-label", DiffedStatic).put(asked)
            self.query_one(f"#{side}-chart", Sparkline).data = list(counts)
            times, slow = (
                view.seconds.get(side),
                view.slow.get(side) or [0.0] * 60,
            )  # one value alone is drawn as high as the chart
            told = "not asked" if times is None else f"p50 {times[0]:.2f} s, p95 {times[1]:.2f} s"
            self.query_one(f"#{side}-slow-label", DiffedStatic).put(Content(f"{side}: {told}; p95 a minute"))
            self.query_one(f"#{side}-slow-chart", Sparkline).data = slow
        self.query_one(Course).show(view.course, view.margin)
        self.query_one("#events", Facts).show(_events(view))
        self.refresh_bindings()

    def _show_guide(self) -> None:
        leads = self._demo and self.app.guided and self.check_action("try", ())  # type: ignore[attr-defined]
        step = guide.door(self.has_class("-trying"), self.has_class("-tried"), self.view.state) if leads else None
        self.query_one(GuideLine).show(step)

    def action_guide(self) -> None:
        self.app.guided = not self.app.guided  # type: ignore[attr-defined]
        self._show_guide()

    def action_back(self) -> None:
        if self.has_class("-trying"):
            self.remove_class("-trying")
            self.query_one(VerticalScroll).focus()
            self._show_guide()
        else:
            self.dismiss()

    def action_pause(self) -> None:
        self._tell(DoorCommand(kind="pause"))

    def action_go_on(self) -> None:
        self._tell(DoorCommand(kind="resume"))

    def action_back_out(self) -> None:
        self._tell(DoorCommand(kind="roll-back"))

    @work(group=ASKS)
    async def action_share(self, steps: int) -> None:
        """Change the share by a step, after a question: it moves traffic of real users."""
        state = self.view.state
        if state is None:
            return
        higher = [step for step in STEPS if step > state.share]
        lower = [step for step in STEPS if step < state.share]
        share = (min(higher, default=1.0)) if steps > 0 else (max(lower, default=0.0))
        details = f"The local model answers {100 * share:g} % instead of {100 * state.share:g} %, until you change it."
        if await self.app.push_screen_wait(ConfirmScreen("Change the share?", details, "Change it")):
            self._tell(DoorCommand(kind="share", share=share))

    @work(group=ASKS)
    async def action_try(self) -> None:
        """Ask for a prompt, at first one of the dev prompts; what is typed ahead goes behind it."""
        prompt = self.query_one("#prompt", Input)
        if not prompt.value:
            prompt.value = await asyncio.to_thread(takeover.sample_prompt, self.run)
        self.add_class("-trying")
        prompt.focus()
        self._show_guide()

    @on(Input.Submitted, "#prompt")
    def _submitted(self, event: Input.Submitted) -> None:
        if not event.value.strip():
            self.notify("Type a prompt first, as your code would send it.", title="Take-over", markup=False)
            return
        self.add_class("-tried")
        self._show_guide()
        for side in ("service", "local"):
            box = self.query_one(f"#{side}-answer", Static)
            box.border_title = side
            box.update("…")
            self._ask(event.value, side)
        self.call_after_refresh(self._show_answers)

    def _show_answers(self) -> None:
        """Scroll to the two answers, which stand below the figures."""
        self.query_one("#answers").scroll_visible(animate=False)


def _named(lines: list[tuple[str, str]]) -> list[Fact]:
    """Lines of a name and a value."""
    return [fact(name, clean(value)) for name, value in lines]


def _events(view: takeover.TakeoverView) -> list[Fact]:
    """The last fallbacks and changes."""
    parts = [fact("last fallbacks" if view.fallbacks else "no fallbacks")]
    for one in view.fallbacks:
        parts.append(fact(_clock(one.time), f"{one.answered_by:<8} {one_line(one.reason, 200)}"))
    if view.changes:
        parts.append(fact("last changes"))
    for change in view.changes:
        why = f": {change.why}" if change.why else ""
        parts.append(fact(_clock(change.time), f"{one_line(change.who, 30)}  {one_line(change.what + why, 200)}"))
    return parts


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
