"""The coverage data at a glance: what becomes of its rows, and the first of them."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from llamaduo_tui.preview import Preview
from llamaduo_tui.text import one_line


class CoveragePreview(Vertical, can_focus=True):
    """What is in the coverage file, or why that can't be told."""

    def compose(self) -> ComposeResult:
        self.border_title = "Preview"
        yield Static(Content("Choose a file with F4, or type a path or a Hub id."), classes="counts")
        yield Vertical(classes="samples")

    async def refuse(self, message: str, hint: str) -> None:
        """Say why there is no preview."""
        said = Content.assemble(("✗ ", "$text-error"), one_line(message), "\n", (one_line(hint), "dim"))
        await self._show(said, [])

    async def show(self, preview: Preview) -> None:
        """Show counts, reasons and the first pairs."""
        parts: list[Content | str | tuple[str, str]] = [
            (f"{preview.rows:,} rows", "bold"),
            f": {preview.train:,} train · {preview.dev:,} dev · {preview.test:,} sealed",
        ]
        if not (preview.train and preview.dev and preview.test):
            parts.append(("\n✗ a split stays empty: add rows, or change the shares", "$text-error"))
        if preview.dropped:
            parts.append((f"\n! {preview.dropped:,} left out", "$text-warning"))
            parts += [f"\n  {count:,} × {reason}" for reason, count in preview.reasons]
        shown = [
            Horizontal(
                Static(Content(name), classes="who"),
                Static(Content(one_line(text, 240)), classes="said"),
                classes=f"sample -{name}",
            )
            for sample in preview.samples
            for name, text in sample._asdict().items()
        ]
        await self._show(Content.assemble(*parts), shown)

    async def _show(self, counts: Content, shown: list[Horizontal]) -> None:
        self.query_one(".counts", Static).update(counts)
        samples = self.query_one(".samples", Vertical)
        await samples.remove_children()
        await samples.mount_all(shown)
