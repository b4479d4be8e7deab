"""The course of training: losses by step, the learning rate and the speed, drawn at most twice a second."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from textual.app import ComposeResult
from textual.color import Color
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Sparkline, Static
from textual_plotext import PlotextPlot

from llamaduo_tui.views import phrases
from llamaduo_tui.views.run_view import Loss, RunView

REDRAW_S = 0.5
FIGURES_FROM = 11
"""Lines from which on there is room for more than the losses."""

_POINTS = 200


class Charts(Vertical, can_focus=True):
    """The newest round that trained."""

    HELP = """
## Training

**loss** is the training loss in nats a token, a dot for each step; **dev** is the loss on prompts that training does
not use. When dev rises while loss falls, the model overfits: the epoch with the lowest dev loss is kept. Below are the
learning rate and the speed in tokens a second.
"""

    def __init__(self) -> None:
        super().__init__()
        self._losses: tuple[Loss, ...] = ()
        self._drawn: tuple[Loss, ...] | None = None
        self._title = "training"

    def compose(self) -> ComposeResult:
        yield Static("The losses appear here when training starts.", id="none", markup=False)
        yield PlotextPlot()
        for name in ("rate", "speed"):
            yield Static(id=f"{name}-label", classes="figure", markup=False)
            yield Sparkline(id=name, classes="figure")

    def on_mount(self) -> None:
        self.set_interval(REDRAW_S, self._draw)
        self.app.theme_changed_signal.subscribe(self, self._redraw)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.height < FIGURES_FROM, "-low")

    def _redraw(self, _: object) -> None:
        self._drawn = None

    def show(self, view: RunView) -> None:
        """Take the losses; they are drawn at the next tick."""
        trained = [section for section in view.sections if section.losses]
        if trained:
            self._losses = trained[-1].losses
            self._title = f"training · {phrases.part(trained[-1].part)}"

    def _draw(self) -> None:
        if self._losses is self._drawn or not self.display:
            return
        self._drawn = self._losses
        self.border_title = self._title
        self.set_class(bool(self._losses), "-drawn")
        if self._losses:
            self._plot()
            rates = [rate for _, rate in _finite((loss.step, loss.learning_rate) for loss in self._losses)]
            speeds = [speed for _, speed in _finite((loss.step, loss.tokens_per_second) for loss in self._losses)]
            self._spark("rate", "learning rate", [f"{rate:.2g}" for rate in rates[-1:]], rates)
            self._spark("speed", "tokens a second", [f"{speed:,.0f}" for speed in speeds[-1:]], speeds)

    def _plot(self) -> None:
        plot = self.query_one(PlotextPlot)
        train = _thin(_finite((loss.step, loss.train) for loss in self._losses))
        dev = _finite((loss.step, loss.dev) for loss in self._losses)
        ansi = self.app.native_ansi_color
        plot.theme = "clear" if ansi else "auto"
        loss, measured = (self._colour("primary"), self._colour("warning")) if not ansi else ("blue", "magenta")
        plot.plt.clear_data()
        if train:  # plotext cannot draw a series without points
            plot.plt.plot([x for x, _ in train], [y for _, y in train], marker="braille", color=loss, label="loss")
        if dev:
            plot.plt.scatter([x for x, _ in dev], [y for _, y in dev], marker="◆", color=measured, label="dev")
        plot.plt.ylim(0, None)
        plot.refresh()

    def _colour(self, name: str) -> tuple[int, int, int]:
        return Color.parse(self.app.theme_variables[name]).rgb

    def _spark(self, name: str, label: str, newest: list[str], values: Sequence[float]) -> None:
        self.query_one(f"#{name}-label", Static).update(Content.assemble((f"{label} ", "$foreground-muted"), *newest))
        self.query_one(f"#{name}", Sparkline).data = list(values)


def _finite(points: Iterable[tuple[int, float | None]]) -> list[tuple[int, float]]:
    """The points that can be drawn: training that diverges has losses that are not finite."""
    return [(step, loss) for step, loss in points if loss is not None and math.isfinite(loss)]


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Few enough points for plotext to draw in milliseconds, the newest among them."""
    return points[:: -max(1, -(-len(points) // _POINTS))][::-1]
