"""A preview of the coverage data: what it was recognised as, how its rows are split or dropped, and the first ones."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from engine.preflight.report import Profile, UnreadError
from engine.protocol.errors import InputError
from engine.settings.schema import Coverage
from llamaduo_tui.views import profile
from llamaduo_tui.views.profile import Stamp
from llamaduo_tui.views.text import one_line

Request = tuple[Coverage | None, str | None, Stamp]
"""The coverage to preview, the run to start from, and the state of the files."""


class CoveragePreview(Vertical, can_focus=True):
    """The contents of the coverage file, or why there is no preview; another process reads it."""

    @dataclass
    class _Read(Message):
        request: Request
        result: Profile | InputError

    @dataclass
    class Profiled(Message):
        """The data were read, None where they are not; `fault` says why a run cannot use them."""

        profile: Profile | None
        fault: str = ""

    def __init__(self, hint: str) -> None:
        super().__init__()
        self._hint = hint
        self._request: Request = None, None, ()

    def compose(self) -> ComposeResult:
        self.border_title = "Preview"
        yield Static(Content(self._hint), classes="counts")
        yield Vertical(classes="samples")

    def request(self, coverage: Coverage | None, start_from: str | None = None) -> None:
        """Preview a coverage file, split as for a run that starts from another one.

        An unchanged file is not read again, and None changes nothing.
        """
        request = coverage, start_from, profile.stamp(coverage) if coverage is not None else ()
        if coverage is not None and request != self._request:
            self.border_subtitle = "reading…"
            if not self._request[0]:  # else the former contents stay, which are often the same
                for counts in self.query(".counts").results(Static):  # none while it is built
                    counts.update("")
            self._read(request, coverage, start_from)
        self._request = request

    @work(group="configure.preview", exclusive=True, exit_on_error=False)
    async def _read(self, request: Request, coverage: Coverage, start_from: str | None) -> None:
        try:
            result: Profile | InputError = await profile.read_profile(coverage, start_from)
        except InputError as error:
            result = error
        self.post_message(self._Read(request, result))

    @on(_Read)
    async def _show_result(self, message: _Read) -> None:
        if message.request != self._request:
            return
        if isinstance(message.result, InputError):
            unread = isinstance(message.result, UnreadError)
            self.post_message(self.Profiled(None, "" if unread else message.result.message))
            await self._show_problem(message.result.message, message.result.hint)
        else:
            self.post_message(self.Profiled(message.result, profile.fault(message.result)))
            await self._show(message.result)

    async def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            self.post_message(self.Profiled(None))
            await self._show_problem(f"unexpected: {type(event.worker.error).__name__}: {event.worker.error}", "")

    async def _show_problem(self, message: str, hint: str) -> None:
        """Show why there is no preview."""
        hidden = "; in the form, ctrl+t shows these settings" if "coverage.columns" in hint else ""
        details = f"\n{one_line(hint)}{hidden}" if hint else ""
        await self._fill(Content.assemble(("✗ ", "$text-error"), one_line(message), (details, "dim")), [])

    async def _show(self, result: Profile) -> None:
        """Show what was recognised, counts, reasons, warnings and the first pairs."""
        first, *more = profile.heading(result)
        count, _, split = first.partition(":")
        parts: list[Content | str | tuple[str, str]] = [(count, "bold"), f":{split}"]
        parts += [(f"\n{line}", "dim") for line in more]
        if fault := profile.fault(result):
            parts.append((f"\n✗ {fault}", "$text-error"))
        if result.dropped:
            parts.append((f"\n! {result.dropped:,} dropped", "$text-warning"))
            parts += [f"\n  {line}" for line in profile.reasons(result)]
        for line in profile.warnings(result):
            parts += [("\n! ", "$text-warning"), line]
        samples = [
            Horizontal(
                Static(Content(name), classes="who"),
                Static(Content(one_line(text, 240)), classes="text"),
                classes=f"sample -{name}",
            )
            for sample in result.samples
            for name, text in (("prompt", sample.prompt), ("response", sample.response))
        ]
        await self._fill(Content.assemble(*parts), samples)

    async def _fill(self, counts: Content, samples: list[Horizontal]) -> None:
        self.border_subtitle = None
        self.query_one(".counts", Static).update(counts)
        box = self.query_one(".samples", Vertical)
        with self.app.batch_update():
            await box.remove_children()
            await box.mount_all(samples)
