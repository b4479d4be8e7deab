"""The report of a run that has ended, as the engine wrote it."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Markdown, Static
from textual.worker import Worker, WorkerState

from engine.protocol.release import report_text
from engine.protocol.run_dir import Run
from llamaduo_tui.views.text import clean, markdown, one_line
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.keyed_scroll import KeyedScroll
from llamaduo_tui.widgets.plain_markdown import PlainMarkdown


class ReportScreen(Screen[None]):
    """Rendered Markdown; links are shown, never opened."""

    CSS_PATH = "report.tcss"
    AUTO_FOCUS = "KeyedScroll"
    HELP = """
## Report

The result of the run in plain words: the scores with their bounds, the changes from round to round,
people's reviews, the best and the worst responses, the cost, and the files that are kept.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back", id="report.back", tooltip="Back to the run"),
        Binding("space", "page", "Page down", id="report.page", tooltip="A page down"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def compose(self) -> ComposeResult:
        title = Content.assemble(("Report", "bold"), f"  {one_line(self.run.name, 40)}  ")
        yield Static(
            title + Content.styled(one_line(str(self.run.report_file), 300), "$foreground-muted"), id="report-title"
        )
        with KeyedScroll():
            yield PlainMarkdown("Reading ...")
        yield KeyBar()

    def on_mount(self) -> None:
        self._read()

    @work(thread=True, group="report", exit_on_error=False)
    def _read(self) -> str:
        return markdown(report_text(self.run))

    async def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.SUCCESS and event.worker.group == "report":
            await self.query_one(Markdown).update(str(event.worker.result))
        elif event.state is WorkerState.ERROR:
            self.notify(clean(str(event.worker.error)), title="Cannot read the report", severity="error", markup=False)

    def action_page(self) -> None:
        self.query_one(KeyedScroll).scroll_page_down(animate=False)
