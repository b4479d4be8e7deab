"""Charts side by side in one pane, read by arrows or mouse; drawn at most twice a second, and at once after a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from llamaduo_tui.views import chart_data
from llamaduo_tui.views.chart_data import Figure
from llamaduo_tui.views.chart_grid import Grid
from llamaduo_tui.views.plot import Line

REDRAW_S = 0.5


class Plots(Widget, can_focus=True):
    """Draws a grid of figures; its keys change what is looked at, and the grid alone knows what that is."""

    ALLOW_SELECT = False
    ALLOW_MAXIMIZE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "read(-1)", "Back", False, id="chart.left", tooltip="Read the values one point before"),
        Binding("right", "read(1)", "On", False, id="chart.right", tooltip="Read the values one point further on"),
        Binding("pageup", "jump(-1)", "Back far", False, id="chart.jump_left", tooltip="Read a tenth before"),
        Binding("pagedown", "jump(1)", "On far", False, id="chart.jump_right", tooltip="Read a tenth further on"),
        Binding("home", "first", "First", False, id="chart.first", tooltip="Read the first values"),
        Binding("end,G", "newest", "Newest", False, id="chart.newest", tooltip="Read and follow the newest values"),
        Binding("down,j", "choose(1)", "Next chart", False, id="chart.next", tooltip="The next chart"),
        Binding("up,k", "choose(-1)", "Chart before", False, id="chart.previous", tooltip="The chart before"),
        Binding("L", "log", "Log scale", id="chart.log", tooltip="Draw the chart's values on a logarithmic axis"),
        Binding("plus", "zoom(1)", "Zoom in", False, id="chart.in", tooltip="Show half, around what is read"),
        Binding("minus", "zoom(-1)", "Zoom out", False, id="chart.out", tooltip="Show twice as much"),
        Binding("0", "whole", "All", False, id="chart.whole", tooltip="Show all from start to end"),
        Binding("enter", "alone", "Only this", id="chart.alone", tooltip="Show only the chosen chart, or all"),
        Binding("m", "maximize", "Maximise", id="charts.maximise", tooltip="Use the whole screen, or go back"),
        Binding("w", "save", "Save", False, id="chart.save", tooltip="Save the chosen chart's values as CSV"),
    ]

    class Save(Message):
        """Ask for the values of a chart to be saved to a file."""

        def __init__(self, name: str, text: str) -> None:
            super().__init__()
            self.name, self.text = name, text

    def __init__(self) -> None:
        super().__init__()
        self.grid = Grid()
        self._lines: Sequence[Content] = ()
        self._stale = True
        self._theme = ""

    def on_mount(self) -> None:
        self.set_interval(REDRAW_S, self._redraw)

    def on_resize(self) -> None:
        self.draw()

    def show_figures(self, figures: tuple[Figure, ...]) -> None:
        """Take newer figures; they are drawn at the next tick."""
        self.grid = self.grid.having(figures)
        self._stale = True

    def draw(self) -> None:
        """Draw now; only lines that changed are sent."""
        self._stale = False
        width, height = self.content_size
        self.set_class(any(figure.series for figure in self.grid.figures), "-drawn")
        before, self._lines = self._lines, [_content(line) for line in self.grid.drawn(width, height)]
        if len(before) != len(self._lines):
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip(before, self._lines, strict=True)) if not old.is_same(new)]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        width, style = self.content_size.width, self.visual_style
        if y >= len(self._lines):
            return Strip.blank(width, style.rich_style)
        strips = Visual.to_strips(self, self._lines[y], width, 1, style, apply_selection=False)
        return strips[0] if strips else Strip.blank(width, style.rich_style)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        figure = self.grid.figure
        match action:
            case "log":
                return figure is not None and figure.low is None
            case "alone" | "choose":
                return len(self.grid.figures) > 1
        return super().check_action(action, parameters)

    def action_read(self, points: int) -> None:
        self._look(self.grid.move(points))

    def action_jump(self, direction: int) -> None:
        self._look(self.grid.jump(direction))

    def action_first(self) -> None:
        self._look(self.grid.first())

    def action_newest(self) -> None:
        self._look(self.grid.read(None))

    def action_choose(self, step: int) -> None:
        self._look(self.grid.choose(step))
        self.refresh_bindings()

    def action_log(self) -> None:
        self._look(self.grid.scaled())

    def action_zoom(self, direction: int) -> None:
        self._look(self.grid.zoom(direction))

    def action_whole(self) -> None:
        self._look(self.grid.whole())

    def action_alone(self) -> None:
        self._look(self.grid.only())

    def action_maximize(self) -> None:
        if self.screen.maximized is not None:
            self.screen.minimize()
        else:
            self.screen.maximize(self, container=False)
        self.focus()

    def action_save(self) -> None:
        figure = self.grid.figure
        if figure is None or not figure.places:
            self.notify("There is nothing to save.", markup=False)
        else:
            self.post_message(self.Save(figure.name.replace(" ", "-"), chart_data.table(figure)))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1:
            self._point(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button == 1:
            self._point(event)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_zoom(1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_zoom(-1)

    def _point(self, event: events.MouseEvent) -> None:
        place = event.get_content_offset(self)
        if place is not None:
            self._look(self.grid.pointed(*place, *self.content_size))

    def _look(self, grid: Grid) -> None:
        if grid != self.grid:
            self.grid = grid
            self.draw()

    def _redraw(self) -> None:
        if self.app.theme != self._theme:  # the app's signal would keep each chart that ever listened
            self._theme = self.app.theme
            self.refresh()
        if self._stale and self.display and self.content_size.width:
            self.draw()


def _content(line: Line) -> Content:
    return Content.assemble(*line) if line else Content()
