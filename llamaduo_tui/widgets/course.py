"""The course of a canary, drawn. Its keys are the screen's: here `+` and `-` change the share, and zoom nothing."""

from __future__ import annotations

from llamaduo_tui.views import course
from llamaduo_tui.views.takeover import Standpoint
from llamaduo_tui.widgets.plots import Plots


class Course(Plots, can_focus=False):
    """Two charts over the number of comparisons."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[tuple[Standpoint, ...], float] | None = None

    def show(self, standpoints: tuple[Standpoint, ...], margin: float) -> None:
        """Draw a course; nothing where it has not changed."""
        if standpoints and (standpoints, margin) != self._shown:
            self._shown = standpoints, margin
            self.show_figures(course.figures(standpoints, margin))
            self.draw()
