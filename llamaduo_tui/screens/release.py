"""The release of a run that has ended: what was written, whether it passed, what is at work, and what follows."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Log

from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.screens.opening import Opening
from llamaduo_tui.views import guide
from llamaduo_tui.views.release import ReleaseView, release_view
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import design
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.guide_line import GuideLine
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.keyed_scroll import KeyedLog

POLL_S = 0.5

NOTHING = (
    "Nothing is released yet. Press s to write the model in the formats that servers read. "
    "Each is served and asked the sealed prompts before it counts as released."
)
BEGUN = "No artefact has been written and asked yet; the log is below."


@dataclass
class ReleaseRead(Message):
    """The release, as just read; `demo` says whether the guide leads here."""

    view: ReleaseView
    demo: bool


class ReleaseScreen(Opening, Screen[None]):
    """The artefacts above, the log below."""

    CSS_PATH = "release.tcss"
    AUTO_FOCUS = "Log"
    HORIZONTAL_BREAKPOINTS = [(0, "-usual"), (160, "-vast")]  # noqa: RUF012 - as Textual declares it
    HELP = """
## Release

Each artefact of the best model, and whether it answers, as served, like the adapter that was judged. A refused one
stays in its folder, and `gate.json` there says why. The release goes on if you leave. `REPORT.html` in the same folder
has the whole run on one page, for those who sign. With a released model, **t** starts a door that asks both sides, and
**d** rehearses the day on which the service is gone.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back", id="release.back", tooltip="Back to the run"),
        Binding("s", "start", "Release", id="release.start", tooltip="Write the model for servers, and prove it"),
        Binding("t", "try", "Try", id="release.try", tooltip="Start a door in shadow mode, and ask both sides"),
        Binding("d", "drill", "Drill", id="release.drill", tooltip="Rehearse the day without the service; it is free"),
        Binding("h", "guide", "Guide", False, id="release.guide", tooltip="Hide or show the demo's guide"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self._left = threading.Event()
        self._shown: tuple[str, ...] = ()
        self._latest: ReleaseRead | None = None

    def compose(self) -> ComposeResult:
        design.fit(self)
        yield DiffedStatic(id="release-title", markup=False)
        yield GuideLine()
        with Container(id="release-body"):
            yield DiffedStatic(id="release-artefacts", markup=False)
            yield KeyedLog(highlight=False)
        yield KeyBar()

    def on_mount(self) -> None:
        title = Content.assemble(("Release", "bold"), f"  {one_line(self.run.name, 40)}  ")
        place = Content.styled(one_line(str(self.run.release), 300), "$foreground-muted")
        self.query_one("#release-title", DiffedStatic).put(title + place)
        self._watch()

    def on_unmount(self) -> None:
        self._left.set()

    @work(thread=True, group="release", exit_on_error=False)
    def _watch(self) -> None:
        demo = guide.leads_in(self.run)
        while not self._left.is_set():
            try:
                self.post_message(ReleaseRead(release_view(self.run), demo))
            except (OSError, ValueError) as error:
                self.post_message(messages.ReadFailed(str(error)))
                return
            self._left.wait(POLL_S)

    @on(ReleaseRead)
    def _read(self, message: ReleaseRead) -> None:
        before, self._latest, self.ready = self._latest, message, True
        view = message.view
        if before is None or before.view != view:
            self._show_guide()
            self.refresh_bindings()
        self.query_one("#release-artefacts", DiffedStatic).put(Content("\n".join(_shown(view))))
        log = self.query_one(Log)
        log.set_class(not view.log, "-empty")
        if view.log == self._shown:
            return
        if self._shown and view.log[: len(self._shown)] == self._shown:
            log.write_lines(view.log[len(self._shown) :])
        else:
            log.clear()
            log.write_lines(view.log)
        self._shown = view.log

    @on(messages.ReadFailed)
    def _read_failed(self) -> None:
        self.ready = True

    def on_screen_resume(self) -> None:
        """The user may have hidden the guide on the screen above."""
        self._show_guide()

    def _show_guide(self) -> None:
        latest = self._latest
        leads = latest is not None and latest.demo and self.app.guided  # type: ignore[attr-defined]
        for line in self.query(GuideLine):
            line.show(guide.after(latest.view) if latest is not None and leads else None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "try" | "drill":
                return self._latest is not None and self._latest.view.released
            case "guide":
                return self._latest is not None and self._latest.demo
        return super().check_action(action, parameters)

    def action_try(self) -> None:
        self.post_message(messages.TryRelease(self.run))

    def action_drill(self) -> None:
        self.post_message(messages.DrillRun(self.run))

    def action_guide(self) -> None:
        self.app.guided = not self.app.guided  # type: ignore[attr-defined]
        self._show_guide()

    def action_start(self) -> None:
        self.post_message(messages.ReleaseRun(self.run))


def _shown(view: ReleaseView) -> list[str]:
    """The artefacts, what is served, and where the page for those who sign is; without artefacts, how to begin."""
    if not view.artefacts:
        return [BEGUN if view.log else NOTHING]
    served = [one_line(view.served, 300)] if view.served else []
    return [*view.artefacts, *served, *([f"for those who sign: {one_line(view.paper, 300)}"] if view.paper else [])]
