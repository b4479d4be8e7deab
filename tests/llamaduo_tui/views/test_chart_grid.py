"""What keys do to a page of charts, by values, and which charts have room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from llamaduo_tui.views.chart_data import Figure, Series
from llamaduo_tui.views.chart_grid import Cell, Grid

POINTS = tuple((float(n), 2.0 + n) for n in range(1, 41))
SERIES = Series("round 1", POINTS, "1", "red")
LOSS = Figure(name="loss", unit="", x="step", series=(SERIES,))
GRID = Grid((LOSS, replace(LOSS, name="rate"), replace(LOSS, name="load", low=0.0)))


def test_keys_read_point_by_point_and_behind_the_last_one_the_newest_is_followed() -> None:
    assert GRID.move(-1).at == 39.0 and GRID.move(1).at is None
    assert GRID.move(-1).move(1).at == 40.0 and GRID.move(-1).move(1).move(1).at is None
    assert GRID.first().at == GRID.move(-100).at == 1.0
    assert GRID.jump(-1).at == 36.0 and GRID.jump(-1).jump(1).at == 40.0
    more = (replace(LOSS, series=(replace(SERIES, points=(*POINTS, (41.0, 1.0))),)),)
    assert GRID.having(more).move(-1).at == 40.0, "the newest is followed"
    assert GRID.move(-1).having(more).at == 39.0, "what is read stays"


def test_a_place_between_points_goes_on_from_there() -> None:
    sparse = GRID.having((replace(LOSS, series=(replace(SERIES, points=((1.0, 1.0), (10.0, 1.0), (20.0, 1.0))),)),))
    assert sparse.read(10.0).move(1).at == 20.0 and sparse.nearest(14.9).at == 10.0


def test_zooming_halves_around_what_is_read_and_ends_at_all_of_it() -> None:
    near = GRID.read(20.0).zoom(1)
    assert near.window == (10.25, 29.75)
    assert near.zoom(-1).window is None and near.whole().window is None
    assert GRID.zoom(1).window == (20.5, 40.0), "at the newest"
    deep = near
    for _ in range(20):
        deep = deep.zoom(1)
    assert deep.window is not None and deep.window[1] - deep.window[0] >= 1
    assert deep.window[0] <= 20.0 <= deep.window[1]
    moved = near.read(35.0)
    assert moved.window is not None and moved.window[0] <= 35.0 <= moved.window[1] <= 40.0
    assert near.read(None).window is None


def test_only_a_chart_whose_axis_is_free_gets_a_logarithmic_one() -> None:
    log = GRID.scaled()
    assert log.look(LOSS).log and not log.look(GRID.figures[1]).log and not log.scaled().look(LOSS).log
    assert GRID.choose(2).scaled() == GRID.choose(2)


def test_charts_are_chosen_in_a_circle_and_fewer_ones_keep_a_choice() -> None:
    assert [GRID.choose(n).chosen for n in (1, 2, 3, -1)] == [1, 2, 0, 2]
    assert GRID.choose(2).having((LOSS,)).chosen == 0
    assert Grid().choose(1).move(1).zoom(1).scaled().first().only().drawn(20, 3) == [[], [], []]


@pytest.mark.parametrize(
    ("width", "height", "chosen", "cells"),
    [
        (48, 12, 0, [Cell(0, 0, 0, 48, 12)]),
        (48, 12, 2, [Cell(2, 0, 0, 48, 12)]),
        (48, 17, 0, [Cell(0, 0, 0, 48, 8), Cell(1, 0, 8, 48, 9)]),
        (48, 17, 2, [Cell(1, 0, 0, 48, 8), Cell(2, 0, 8, 48, 9)]),
        (160, 10, 0, [Cell(0, 0, 0, 52, 10), Cell(1, 54, 0, 52, 10), Cell(2, 108, 0, 52, 10)]),
        (100, 16, 0, [Cell(0, 0, 0, 49, 8), Cell(1, 51, 0, 49, 8), Cell(2, 0, 8, 100, 8)]),
        (200, 60, 0, [Cell(0, 0, 0, 200, 20), Cell(1, 0, 20, 200, 20), Cell(2, 0, 40, 200, 20)]),
    ],
)
def test_as_many_charts_as_have_room_the_chosen_one_among_them(
    width: int, height: int, chosen: int, cells: list[Cell]
) -> None:
    grid = replace(GRID, chosen=chosen)
    assert grid.cells(width, height) == cells
    lines = grid.drawn(width, height)
    assert len(lines) == height and all(sum(len(text) for text, _ in line) <= width for line in lines)
    assert grid.only().cells(width, height) == [Cell(chosen, 0, 0, width, height)]


def test_a_click_chooses_a_chart_and_reads_the_nearest_point() -> None:
    clicked = GRID.pointed(54 + 51, 5, 160, 10)
    assert (clicked.chosen, clicked.at) == (1, 40.0)
    assert GRID.pointed(0, 5, 160, 10).at == 1.0
    assert GRID.pointed(52, 5, 160, 10) == GRID, "between two"


@given(
    points=st.lists(st.tuples(st.integers(0, 500), st.floats(-1e9, 1e9)), max_size=30),
    bounded=st.booleans(),
    ends=st.tuples(st.sampled_from([None, 0.0]), st.sampled_from([None, 100.0])),
    keys=st.lists(st.sampled_from(["left", "right", "in", "out", "log", "down", "first", "far", "click"]), max_size=12),
    width=st.integers(0, 120),
    height=st.integers(0, 40),
)
def test_whatever_is_shown_and_pressed_fits_its_room(  # type: ignore[no-untyped-def]
    points, bounded, ends, keys, width, height
) -> None:
    shown = tuple((float(x), y) for x, y in sorted(dict(points).items()))
    series = Series("one", shown, "1", "red", bounds=tuple((y - 1, y + 1) for _, y in shown) if bounded else ())
    figure = Figure(name="loss", unit="", x="step", series=(series, series), low=ends[0], high=ends[1])
    grid = Grid((figure, replace(figure, name="rate")))
    for key in keys:
        grid = {
            "left": lambda grid: grid.move(-1),
            "right": lambda grid: grid.move(1),
            "in": lambda grid: grid.zoom(1),
            "out": lambda grid: grid.zoom(-1),
            "log": lambda grid: grid.scaled(),
            "down": lambda grid: grid.choose(1),
            "first": lambda grid: grid.first(),
            "far": lambda grid: grid.jump(-1),
            "click": lambda grid: grid.pointed(width // 2, height // 2, width, height),
        }[key](grid)
    lines = grid.drawn(width, height)
    assert len(lines) == height and all(sum(len(text) for text, _ in line) <= width for line in lines)
    assert grid.at is None or grid.window is None or grid.window[0] <= grid.at <= grid.window[1]
