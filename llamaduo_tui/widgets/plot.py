"""A chart in characters that is gone once it is closed."""

from __future__ import annotations

from textual_plotext import PlotextPlot


class Plot(PlotextPlot):
    """Stops listening for other themes when it is closed: the app's signal would keep each chart that ever listened."""

    def on_unmount(self) -> None:
        self.app.theme_changed_signal.unsubscribe(self)
