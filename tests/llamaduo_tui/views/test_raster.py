from __future__ import annotations

from llamaduo_tui.views.raster import Raster


def test_a_cell_has_eight_dots_and_the_colour_of_the_last() -> None:
    raster = Raster(2, 1)
    raster.line((0, 0), (0, 3), "a")
    raster.dot(1, 3, "b")
    raster.dot(2, 0, "c")
    assert raster.cells() == [[("⣇", "b"), ("⠁", "c")]]


def test_lines_go_both_ways_and_what_is_outside_is_left_out() -> None:
    down, up = Raster(2, 1), Raster(2, 1)
    down.line((0, 0), (3, 3), "")
    up.line((3, 3), (0, 0), "")
    assert down.cells() == up.cells() == [[("⠑", ""), ("⢄", "")]]
    outside = Raster(1, 1)
    outside.line((-5, -5), (-1, 9), "")
    outside.dot(2, 0, "")
    assert outside.cells() == [[(" ", "")]]
