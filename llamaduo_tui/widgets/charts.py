"""The charts of a run: training, scores by round, and the machine over time; a page of them at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from engine.protocol.machine import MachineRow
from engine.settings.schema import Target
from llamaduo_tui.views import figures, panes
from llamaduo_tui.views.chart_grid import Grid
from llamaduo_tui.views.figures import Page
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.widgets.plots import Plots

PAGES = tuple(Page)


class Charts(Plots):
    """Shows a page of a run's charts, each with the reader's place in it."""

    DEFAULT_CSS = """
    Charts {
        border: round $border-blurred;
        border-title-color: $text-muted;
        border-title-style: bold;
        border-subtitle-color: $text-muted;

        &:focus {
            border: round $border;
            border-title-color: $text-primary;
        }
    }
    """
    HELP = """
## Charts

`[` and `]` go through three pages. **training**: loss, learning rate and speed by step, each round with its digit.
Lines are the training loss in nats a token, digits or ◆ the loss on dev prompts: when it rises while the training loss
falls, the model overfits, and the epoch with the lowest dev loss is kept. `e` hides earlier rounds. **scores** by
round, with bounds and target. **machine**: the one that the worker runs on, and the GPUs that this run uses, with
load and power as means, memory and temperature at their highest; a gap is a time without a worker. Other nodes of a
cluster are not recorded.

Arrows left and right, or a click, read the values at a point; `end` follows the newest. Up and down choose a chart,
`enter` shows it alone, `m` uses the whole screen and `escape` goes back. `L` draws a logarithmic axis. `+` and `-`, or
the wheel, zoom; `0` shows all. `w` saves the values as CSV.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right_square_bracket", "turn(1)", "Next page", id="charts.next", tooltip="The next page of charts"),
        Binding("left_square_bracket", "turn(-1)", "Page before", False, id="charts.before", tooltip="The page before"),
        Binding("e", "earlier", "Earlier rounds", id="charts.earlier", tooltip="Show or hide earlier rounds"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.page = Page.TRAINING
        self._turned = False
        self._earlier = True
        self._view = RunView()
        self._target: Target | None = None
        self._rows: Sequence[MachineRow] = ()
        self._left: dict[Page, Grid] = {}

    def on_mount(self) -> None:
        self._make()

    def show(self, view: RunView, target: Target | None) -> None:
        """Take a run as it is now; it is drawn at the next tick."""
        new = [section.losses for section in view.sections] != [section.losses for section in self._view.sections]
        scored = view.scored != self._view.scored or view.outcome != self._view.outcome
        self._view, self._target = view, target
        self._begin()
        if (new and self.page is Page.TRAINING) or (scored and self.page is Page.SCORES):
            self._make()

    def show_machine(self, rows: Sequence[MachineRow]) -> None:
        """Take what is recorded of the machine."""
        self._rows = rows
        self._begin()
        if self.page is Page.MACHINE:
            self._make()

    def _begin(self) -> None:
        """Until the reader turns to a page: training, or the machine where there is none yet."""
        trained = any(section.losses for section in self._view.sections)
        page = Page.TRAINING if trained or not self._rows else Page.MACHINE
        if not self._turned and page is not self.page:
            self._turn(page)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "earlier":
            return self.page is Page.TRAINING and sum(bool(one.losses) for one in self._view.sections) > 1
        return super().check_action(action, parameters)

    def action_page(self, name: str) -> None:
        """Show another page, at the place where the reader left it."""
        self._turned = True
        if name != self.page:
            self._turn(Page(name))

    def _turn(self, page: Page) -> None:
        self._left[self.page] = self.grid
        self.page = page
        self.grid = self._left.get(self.page, Grid())
        self._make()
        self.draw()
        self.refresh_bindings()

    def action_turn(self, step: int) -> None:
        """Show the next page, or the one before; after the last comes the first."""
        self.action_page(PAGES[(PAGES.index(self.page) + step) % len(PAGES)])

    def action_earlier(self) -> None:
        self._earlier = not self._earlier
        self._make()
        self.draw()

    def _make(self) -> None:
        """The figures of the page, as the run is now."""
        match self.page:
            case Page.TRAINING:
                self.show_figures(figures.training(self._view, self._earlier))
            case Page.SCORES:
                self.show_figures(figures.scores(self._view, self._target))
            case Page.MACHINE:
                self.show_figures(figures.machine(self._rows, self._view.began))

    def draw(self) -> None:
        super().draw()
        self._show_border()

    def _show_border(self) -> None:
        """The pages in the title of the border, which a click chooses, too; below, how many charts have no room."""
        names = (f"[reverse]{page}[/]" if page is self.page else page for page in PAGES)
        links = (f"[@click=page('{page}')]{name}[/]" for page, name in zip(PAGES, names, strict=True))
        title = panes.titled("charts", " · ".join(links))
        hidden = len(self.grid.cells(*self.content_size)) < len(self.grid.figures)
        where = f"↑↓ chart {self.grid.chosen + 1} of {len(self.grid.figures)} · " if hidden else ""
        below = f"{where}[@click=maximize]m {'back' if self.screen.maximized is self else 'maximise'}[/] · ←→ read"
        if (self.border_title, self.border_subtitle) != (title, below):
            self.border_title, self.border_subtitle = title, below
