"""The course of a canary, drawn: the difference, its bounds, the threshold; and the share that the bounds allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.app import ComposeResult
from textual.color import Color
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static
from textual_plotext import PlotextPlot

from llamaduo_tui.views.takeover import Standpoint

FLOOR, CEILING = -30.0, 15.0
"""Points between which the difference is drawn at most: at the start its bounds are as far apart as scores can be."""


Colours = tuple[str, str]
"""A colour of the theme, and the one that stands for it where the terminal's own colours are used."""

MEAN: Colours = ("$primary", "blue")
BOUNDS: Colours = ("$secondary", "cyan")
THRESHOLD: Colours = ("$warning", "magenta")


class Course(Vertical):
    """Two charts over the number of comparisons."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn: tuple[tuple[Standpoint, ...], float] | None = None

    def compose(self) -> ComposeResult:
        for name in ("difference", "share"):
            with Vertical(id=f"{name}-course"):
                yield Static(id=f"{name}-legend", classes="label", markup=False)
                yield PlotextPlot(id=f"{name}-plot")

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._redraw)

    def _redraw(self, _: object) -> None:
        if self._drawn is not None:
            course, margin = self._drawn
            self._drawn = None
            self.show(course, margin)

    def show(self, course: tuple[Standpoint, ...], margin: float) -> None:
        """Draw a course; nothing where it has not changed."""
        self.set_class(bool(course), "-drawn")
        if not course or (course, margin) == self._drawn:
            return
        self._drawn = (course, margin)
        last = course[-1]
        self.query_one("#difference-legend", Static).update(
            Content.assemble(
                (f"difference {last.mean:+.1f}", MEAN[0]),
                (f"  bounds {last.low:+.1f} to {last.high:+.1f}", BOUNDS[0]),
                (f"  threshold {-margin:+g}", THRESHOLD[0]),
            )
        )
        self.query_one("#share-legend", Static).update(
            Content.assemble(
                (f"share {100 * last.share:g} %", MEAN[0]),
                (f"  the bounds allow {100 * last.allowed(margin):.0f} %", BOUNDS[0]),
            )
        )
        at = [point.compared for point in course]
        settled = course[len(course) // 4 :]
        floor = max(FLOOR, min(-2 * margin, *(point.low for point in settled)))
        ceiling = min(CEILING, max(2 * margin, *(point.high for point in settled)))
        difference = [
            ([min(ceiling, max(floor, points)) for points in values], colours)
            for values, colours in (
                ([point.low for point in course], BOUNDS),
                ([point.high for point in course], BOUNDS),
                ([point.mean for point in course], MEAN),
                ([-margin] * len(at), THRESHOLD),
            )
        ]
        self._plot("difference", at, difference)
        allowed = [100 * point.allowed(margin) for point in course]
        self._plot("share", at, [(allowed, BOUNDS), ([100 * point.share for point in course], MEAN)])
        self.query_one("#share-plot", PlotextPlot).plt.ylim(0, 100)

    def _plot(self, name: str, at: Sequence[int], lines: Iterable[tuple[Sequence[float], Colours]]) -> None:
        plot = self.query_one(f"#{name}-plot", PlotextPlot)
        plot.theme = "clear" if self.app.native_ansi_color else "auto"
        plot.plt.clear_data()
        for values, colours in lines:
            plot.plt.plot(list(at), list(values), marker="braille", color=self._colour(colours))
        plot.refresh()

    def _colour(self, colours: Colours) -> tuple[int, int, int] | str:
        theme, plain = colours
        if self.app.native_ansi_color:
            return plain
        return Color.parse(self.app.theme_variables[theme.removeprefix("$")]).rgb
