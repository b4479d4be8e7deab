"""The coverage data at a glance: what becomes of its rows, and the first of them."""

from __future__ import annotations

from dataclasses import dataclass

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from engine.protocol.errors import InputError
from engine.settings.schema import Coverage
from llamaduo_tui.views import profile
from llamaduo_tui.views.profile import Preview
from llamaduo_tui.views.text import one_line

Asked = tuple[Coverage | None, tuple[int, int] | None]
"""What is to be shown, and the state of its file."""


class CoveragePreview(Vertical, can_focus=True):
    """What is in the coverage file, or why that can't be told; it is read in a thread."""

    @dataclass
    class _Looked(Message):
        asked: Asked
        found: Preview | InputError

    def __init__(self, hint: str) -> None:
        super().__init__()
        self._hint = hint
        self._asked: Asked = None, None

    def compose(self) -> ComposeResult:
        self.border_title = "Preview"
        yield Static(Content(self._hint), classes="counts")
        yield Vertical(classes="samples")

    def ask(self, coverage: Coverage | None) -> None:
        """Show a coverage file; one that has not changed since is not read again, None leaves what is shown."""
        asked = coverage, profile.stamp(coverage) if coverage is not None else None
        if coverage is not None and asked != self._asked:
            self.border_subtitle = "reading…"
            self._look(asked, coverage)
        self._asked = asked

    @work(thread=True, group="configure.preview", exclusive=True, exit_on_error=False)
    def _look(self, asked: Asked, coverage: Coverage) -> None:
        try:
            found: Preview | InputError = profile.look(coverage)
        except InputError as error:
            found = error
        self.post_message(self._Looked(asked, found))

    async def on_coverage_preview__looked(self, message: _Looked) -> None:
        if message.asked != self._asked:
            return
        if isinstance(message.found, InputError):
            await self._refuse(message.found.message, message.found.hint)
        else:
            await self._show(message.found)

    async def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            await self._refuse(f"unexpected: {type(event.worker.error).__name__}: {event.worker.error}", "")

    async def _refuse(self, message: str, hint: str) -> None:
        """Say why there is no preview."""
        why = f"\n{one_line(hint)}" if hint else ""
        await self._fill(Content.assemble(("✗ ", "$text-error"), one_line(message), (why, "dim")), [])

    async def _show(self, found: Preview) -> None:
        """Show counts, reasons and the first pairs."""
        parts: list[Content | str | tuple[str, str]] = [
            (f"{found.rows:,} rows", "bold"),
            f": {'' if found.exact else 'about '}{found.train:,} train · {found.dev:,} dev · {found.test:,} sealed",
        ]
        if not (found.train and found.dev and found.test):
            parts.append(("\n✗ a split stays empty: add rows, or change the shares", "$text-error"))
        if found.dropped:
            parts.append((f"\n! {found.dropped:,} left out", "$text-warning"))
            parts += [f"\n  {count:,} × {reason}" for reason, count in found.reasons]
        shown = [
            Horizontal(
                Static(Content(name), classes="who"),
                Static(Content(one_line(text, 240)), classes="said"),
                classes=f"sample -{name}",
            )
            for sample in found.samples
            for name, text in sample._asdict().items()
        ]
        await self._fill(Content.assemble(*parts), shown)

    async def _fill(self, counts: Content, shown: list[Horizontal]) -> None:
        self.border_subtitle = None
        self.query_one(".counts", Static).update(counts)
        samples = self.query_one(".samples", Vertical)
        with self.app.batch_update():
            await samples.remove_children()
            await samples.mount_all(shown)
