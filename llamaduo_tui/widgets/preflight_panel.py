"""The problems with the settings, the estimate and the findings of the pre-flight, and whether a run may start."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.cells import cell_len
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from engine.preflight.report import Estimate
from engine.protocol.errors import LlamaDuoError
from engine.settings.schema import Migration
from llamaduo_tui.views import phrases, preflight
from llamaduo_tui.views.draft import Problem
from llamaduo_tui.views.preflight import Preflight
from llamaduo_tui.views.text import one_line

_ABOUT = (
    "Press F5 to load your data, find the model, and estimate money, time and memory. It is free and starts no run."
)
_LATER = "Fix the problems first. Then F5 loads your data, finds the model, and estimates money, time and memory."
Pieces = list[Content | str | tuple[str, str]]


class PreflightPanel(Vertical):
    """Runs the pre-flight of the settings, and shows what prevents a start."""

    class Changed(Message):
        """What prevents a start may be something else now."""

    def __init__(self) -> None:
        super().__init__()
        self._settings: Migration | None = None
        self._subject = ""
        self._problems: list[Problem] = []
        self._result: Preflight | None = None
        self._check: Worker[None] | None = None
        self._began = 0.0

    def compose(self) -> ComposeResult:
        problems = OptionList(id="problems", markup=False)
        problems.border_title = "Problems"
        yield problems
        with VerticalScroll(id="preflight") as findings:
            findings.border_title = "Pre-flight"
            yield Static(id="findings")
        yield Static(id="why")
        yield Button("Start the run", id="start", disabled=True)

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)

    def set_settings(self, settings: Migration | None, problems: list[Problem]) -> None:
        """Take the settings as they are now; None where they have problems."""
        self._settings, self._problems = settings, problems
        self._subject = preflight.subject(settings) if settings is not None else ""
        listed = self.query_one("#problems", OptionList)
        listed.display = bool(problems)
        self.set_class(bool(problems), "-problems")
        listed.border_title = f"Problems ({len(problems)})"
        chosen = listed.highlighted or 0
        listed.clear_options()
        listed.add_options(Option(Content(f"✗ {one_line(problem.message, 200)}")) for problem in problems)
        listed.highlighted = min(chosen, len(problems) - 1) if problems else None
        self._show()

    @property
    def why_not(self) -> str:
        """What prevents a start, "" for nothing."""
        if self._settings is None:
            return f"{phrases.count(len(self._problems), 'problem')} to fix"
        if self._check is not None:
            return "the pre-flight is running"
        if self._result is None or self._result.subject != self._subject:
            return "run the pre-flight first (F5)"
        return "" if self._result.passed else "fix what the pre-flight found"

    @property
    def checking(self) -> bool:
        return self._check is not None

    def toggle(self, probe: bool = False) -> None:
        """Run the pre-flight, with a `probe` of the service models or without, or cancel the running one."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        elif self._settings is not None:
            self._began = time.monotonic()
            self._check = self._examine(self._settings, probe)
        self._show()

    @work(group="configure.preflight", exclusive=True, exit_on_error=False)
    async def _examine(self, settings: Migration, probe: bool) -> None:
        try:
            self._result = await preflight.examine(settings, probe)
        except LlamaDuoError as error:
            self._result = Preflight(preflight.subject(settings), None, error)
        self._check = None
        self._show()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and self._settings is not None:
            unexpected = LlamaDuoError(f"unexpected: {type(event.worker.error).__name__}: {event.worker.error}")
            self._result, self._check = Preflight(self._subject, None, unexpected), None
            self._show()

    def _tick(self) -> None:
        if self._check is not None:
            self._show()

    def _show(self) -> None:
        if self._check is not None:
            pieces: Pieces = [
                (f"Checking … {phrases.stopwatch(time.monotonic() - self._began)}   F5 cancels", "$text-accent")
            ]
        elif self._result is None:
            pieces = [_LATER if self._problems else _ABOUT]
        else:
            pieces = [*_probed(self._result, self._settings), *_findings(self._result, self._subject)]
        self.query_one("#findings", Static).update(Content.assemble(*pieces))
        why_not, button = self.why_not, self.query_one("#start", Button)
        button.disabled = bool(why_not)
        button.variant = "default" if why_not else "success"
        why = Content.assemble(("Can't start yet: ", "$text-warning"), why_not) if why_not else Content("✓ Ready")
        self.query_one("#why", Static).update(why)
        self.post_message(self.Changed())


def _probed(result: Preflight, settings: Migration | None) -> Pieces:
    """What the service models answered; before they are asked, the key that asks them."""
    pieces: Pieces = []
    for probe in result.report.probes if result.report else ():
        mark, style = ("!", "$text-warning") if probe.refusal else ("✓", "$text-success")
        pieces += [(f"{mark} ", style), f"{one_line(probe.line)}\n"]
    if result.passed and not pieces and settings is not None and (models := preflight.asked(settings)):
        names = one_line(" and ".join(models), 80)
        pieces.append((f"F10 asks {names} once for real, for a fraction of a cent.\n", "$text-accent"))
    return pieces


def _findings(result: Preflight, subject: str) -> Pieces:
    """What was found; `subject` is what settings and data are now."""
    pieces: Pieces = []
    if result.subject != subject:
        pieces.append(("! Outdated: settings or data have changed. Press F5 to check again.\n\n", "$text-warning"))
    for problem in result.problems:
        pieces += [("✗ ", "$text-error"), one_line(problem.error), "\n"]
        pieces += [(f"→ {one_line(problem.hint)}\n\n", "dim")] if problem.hint else ["\n"]
    if result.passed:
        pieces.append(("✓ No problems found\n", "$text-success"))
    for sentence in result.report.power.sentences if result.report and result.report.power else ():
        pieces.append(f"• {one_line(sentence)}\n")
    for note in result.report.notes if result.report else ():
        pieces += [("! ", "$text-warning"), f"{one_line(note)}\n"]
    for sentence in result.report.choice.sentences if result.report and result.report.choice else ():
        pieces.append(f"• Presets: {one_line(sentence, 400)}\n")
    if result.report and result.report.data:
        for line in preflight.warnings(result.report.data):
            pieces += [("! ", "$text-warning"), f"{line}\n"]
        pieces += [(f"{line}\n", "dim") for line in preflight.recognised(result.report.data)]
    if result.report and result.report.estimate:
        pieces += _estimate(result.report.estimate)
    return pieces


def _estimate(estimate: Estimate) -> Iterator[Content | str | tuple[str, str]]:
    """The facts, and a table with the amounts of each round."""
    yield "\n"
    for name, fact in preflight.facts(estimate):
        yield from ((f"{name:<8} ", "bold"), f"{fact}\n")
    rows = [("", "CALLS", "TOKENS", "MONEY", "TIME"), *preflight.table(estimate)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    yield "\n"
    for row in rows:
        name, *amounts = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        style = "dim" if row is rows[0] else "bold" if row is rows[-1] else ""
        yield ("  ".join([row[0].ljust(len(name)), *amounts]) + "\n", style)
    yield ("Times are rough: estimated from a short measurement.", "dim")
