"""The lines above a run: its name and state, the parts of a small screen, and what happens now, for a newcomer."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from engine.protocol.durations import duration
from engine.protocol.run_dir import Run
from engine.protocol.status import State, Stopping
from llamaduo_tui.views import panes, phrases
from llamaduo_tui.views.questions import wording
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import state_styles


def tabs(pane: str, parts: Sequence[str] = panes.RUN) -> Content:
    """The parts of a screen that shows one of them, each with its key."""
    shown = [(f" {panes.titled(name, name, parts)} ", "bold reverse" if name == pane else "") for name in parts]
    return Content.assemble(*shown)


def head(
    run: Run, view: RunView, mark: state_styles.Mark, state: State, now: float, width: int, owner: str = ""
) -> Content:
    """Name, state and age of the run, and whose it is; from which LLM to which model; whether that is the sandbox."""
    until = view.updated if view.concluded or not state.working else now
    age = f" · {duration(until - view.began)}" if view.began else ""
    whose = f" · a run of {one_line(owner, 30)}" if owner else ""
    first = Content.assemble(
        (f" {one_line(run.name, 40)} ", "bold reverse"), "  ", mark.content, (f"{age}{whose}", "$foreground-muted")
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
    view: RunView,
    state: State,
    stopping: Stopping | None,
    now: float,
    gone: str,
    waits: str = "",
    *,
    mine: bool = True,
) -> tuple[str, Content]:
    """A title and a sentence for a newcomer: the current work and its purpose, or why it rests and the next step.

    `gone` is which worker is gone, `waits` that the service does not answer, "" where it does. A run of another user
    has no next step.
    """

    def then(said: str) -> Content:
        return _next(said) if mine else Content()

    if state is State.UNREADABLE:
        return "unreadable", Content(f"{gone[:1].upper()}{gone[1:]}: moved or deleted. What was read of it stays here.")
    if view.failure is not None and not state.working:
        failed = view.failure
        return "failed", Content.assemble(("✗ ", "$text-error"), one_line(failed.error, 300), then(failed.hint))
    if view.outcome is not None and not state.working:
        mark = state_styles.of(view.outcome.state)
        ended = Content.assemble((f"{mark.sign} ", mark.style), one_line(view.outcome.reason, 800))
        return mark.word, ended + (Content() if view.outcome.state.ended else then("r to resume"))
    if state is State.CRASHED:
        said = f"{gone[:1].upper()}{gone[1:]}: killed, out of memory, or the machine restarted. Finished work is kept."
        return "crashed", Content.assemble(said, then("r to resume; O for the output, which may show why"))
    if state is State.STALE:
        return "no heartbeat", Content(
            "The worker has not reported for a while: its disk is busy or full, or its machine cannot be reached."
        )
    if state is State.STOPPING and stopping is not None:
        waits = f"The run {stopping.said(now)}: they are paid for. No other is sent."
        return "stopping", Content(waits) + then("x to drop them: they may be billed, and resume sends them again")
    if state is State.PAUSED:
        return "paused", Content("The run is paused: it makes no calls and costs nothing.") + then("p to continue")
    explained = phrases.explain(view)
    if view.question is not None or state is State.WAITING:
        asked = wording(view.question.kind if view.question is not None else "")
        explained = asked.explain if mine else f"The run waits for its owner: for {asked.waits_for}."
    place = "now"
    if view.current is not None:
        section, stage = view.current
        place = f"now: {phrases.part(section.part)}, {one_line(stage.name, 40)}"
    if waits:
        outage = Content.assemble(("! ", "$text-warning"), f"{waits[:1].upper()}{waits[1:]}.")
        return place.replace("[", "("), outage + then("nothing to do once it answers; x to stop")
    return place.replace("[", "("), Content(explained)


def _next(said: str) -> Content:
    """A separate line with the next step, if that is known."""
    return Content.assemble(("\n▸ ", "bold $text-accent"), (one_line(said, 300), "bold")) if said else Content()
