"""The demo's guide on the screen: a few lines, until the user hides them."""

from __future__ import annotations

from textual.content import Content

from llamaduo_tui.views.guide import LAST, Step
from llamaduo_tui.widgets.diffed_static import DiffedStatic


class GuideLine(DiffedStatic):
    """One step of the tour."""

    DEFAULT_CSS = """
    GuideLine {
        height: auto;
        max-height: 4;
        padding: 0 1;
        border-left: thick $accent;
        background: $boost;
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.display = False

    def show(self, step: Step | None, folded: bool = False) -> None:
        """This step, or nothing; folded, its number and its key on one line."""
        self.display = step is not None
        if step is None:
            return
        if folded:
            at = Content.assemble((f"{step.number} of {LAST} ▸ ", "bold $text-accent"), (step.press, "bold"))
            more = Content.styled("  h why", "$foreground-muted")
            width = (self.content_size.width or self.screen.size.width - 3) - more.cell_length
            self.put(at.truncate(width, ellipsis=True) + more)
            return
        self.put(
            Content.assemble(
                (f"{step.number} of {LAST} · {step.title}", "bold $text-accent"),
                ("  h hides  ", "$foreground-muted"),  # not behind the last line, where it may find no room
                step.said,
                ("\n▸ ", "bold $text-accent"),
                (step.press, "bold"),
            )
        )
