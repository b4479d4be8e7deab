"""A chart as text: what is where, by its characters; nothing is wider or higher than its room."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from llamaduo_tui.views import plot
from llamaduo_tui.views.axes import Tick
from llamaduo_tui.views.chart_data import Figure, Series, table
from llamaduo_tui.views.plot import Line, Look, draw, lay_out

FALLING = Series("round 1", tuple((float(n), 4.0 - n / 5) for n in range(1, 16)), "1", "red")
DEV = Series("round 1 dev", ((5.0, 3.5), (10.0, 2.5)), "1", "red", line=False, brief=True)
LOSS = Figure(name="loss", unit="nats", x="step", series=(DEV, FALLING))


def text(lines: list[Line]) -> list[str]:
    return ["".join(part for part, _ in line).rstrip() for line in lines]


def test_a_chart_has_a_head_axes_with_round_ticks_and_the_newest_values() -> None:
    assert text(draw(LOSS, Look(), 40, 12)) == [
        "loss nats  1 round 1",
        " │⠒⠤⣀⡀",
        " │   ⠈⠉⠒⠢⢄⣀ 1",
        "3┤         ⠉⠒⠢⠤⣀⡀",
        " │              ⠈⠑⠢⠤⡀     1",
        " │                  ⠈⠉⠒⠤⢄⡀",
        "2┤                       ⠈⠉⠒⠢⠤⣀",
        " │                             ⠉⠑⠢⠤⣀⡀",
        "1┤                                  ⠈⠉⠒1",
        " └──┬─────┬────┬─────┬────┬────┬─────┬──",
        "    2     4    6     8   10   12    14",
        "step 15  round 1 1  dev 2.5 at step 10",
    ]
    assert text(draw(LOSS, Look(), 60, 12))[-1] == "step 15, newest  round 1 1  dev 2.5 at step 10"


@pytest.mark.parametrize(("height", "rows"), [(3, 2), (4, 2), (5, 3), (6, 3), (7, 4), (9, 6), (10, 6), (24, 20)])
def test_a_low_chart_gives_up_its_axis_first(height: int, rows: int) -> None:
    lines = text(draw(LOSS, Look(), 60, height))
    assert len(lines) == height and sum("│" in line or "┤" in line for line in lines) == rows
    assert any("└" in line for line in lines) == (height >= plot.TALL)


def test_a_cursor_reads_each_series_at_or_before_its_place() -> None:
    lines = draw(LOSS, Look(at=7.0), 60, 12)
    assert text(lines)[-1] == "step 7  round 1 2.6  dev 3.5 at step 5"
    frame = lay_out(LOSS, Look(at=7.0), 60, 12)
    assert frame is not None
    crossed = [line[frame.left + frame.column(7.0)] for line in text(lines)[1:9] if len(line) > frame.left + 24]
    assert set(crossed) >= {"│"}
    assert any(style == "red reverse" for line in lines for _, style in line)


def test_a_series_that_has_ended_has_no_value_and_the_newest_comes_first() -> None:
    longer = replace(FALLING, name="round 2", points=tuple((float(n), 1.0) for n in range(1, 40)), mark="2")
    figure = replace(LOSS, series=(FALLING, longer))
    assert text(draw(figure, Look(), 60, 12))[-1] == "step 39, newest  round 2 1"
    assert text(draw(figure, Look(at=3.0), 60, 12))[-1] == "step 3  round 2 1  round 1 3.4"
    assert text(draw(figure, Look(), 60, 12))[0] == "loss nats  2 round 2  1 round 1"


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show() -> None:
    wide = replace(FALLING, points=((1.0, 100.0), (2.0, 1.0), (3.0, 0.01), (4.0, 0.0)))
    figure = replace(LOSS, series=(wide,))
    lines = text(draw(figure, Look(log=True), 50, 16))
    assert lines[0].startswith("loss nats, log") and [one.split("┤")[0].strip() for one in lines if "┤" in one] == [
        "100", "10", "1", "0.1", "0.01",
    ]  # fmt: skip
    assert lay_out(replace(figure, series=(replace(wide, points=((1.0, 0.0),)),)), Look(log=True), 50, 16) is None
    fixed = replace(figure, low=0.0)
    assert "log" not in text(draw(fixed, Look(log=True), 50, 16))[0]


def test_a_range_shows_its_part_and_cuts_lines_at_its_ends() -> None:
    frame = lay_out(LOSS, Look(window=(4.5, 8.5)), 40, 12)
    assert frame is not None and frame.x == (4.5, 8.5) and 2.2 < frame.y[0] < frame.y[1] < 3.6
    lines = text(draw(LOSS, Look(window=(4.5, 8.5)), 40, 12))
    assert "5" in lines[-2] and "8" in lines[-2] and "10" not in lines[-2]
    drawn = [line[frame.left :] for line in lines[1:9]]
    assert drawn[-1].rstrip()[-1] not in " 1", "the line goes on to the end of the range"


def test_a_gap_is_not_bridged_and_bounds_and_a_target_are_drawn() -> None:
    apart = replace(FALLING, points=((0.0, 1.0), (1.0, 1.0), (9.0, 1.0), (10.0, 1.0)))
    bridged = "".join(text(draw(replace(LOSS, x="time", series=(apart,)), Look(), 40, 8)))
    broken = "".join(text(draw(replace(LOSS, x="time", series=(replace(apart, gap=3.0),)), Look(), 40, 8)))
    assert sum("⠀" < char <= "⣿" for char in broken) < sum("⠀" < char <= "⣿" for char in bridged) / 2
    scored = Series("dev", ((0.0, 2.0), (1.0, 63.6)), "●", "blue", line=False, bounds=((2.0, 9.0), (55.2, 72.1)))
    figure = Figure(
        name="precision", unit="points", x="round", series=(scored,), low=0.0, high=100.0, goal=85.0,
        labels=(Tick(0.0, "0"), Tick(1.0, "1"), Tick(2.0, "sealed")),
    )  # fmt: skip
    lines = text(draw(figure, Look(), 60, 16))
    assert lines[0] == "precision points  ┄ target 85  ● dev"
    assert lines[-1] == "round 1, newest  dev 63.6 (55–72)"
    assert lines[-2].split() == ["0", "1", "sealed", "round"]
    (goal,) = [n for n, line in enumerate(lines[1:]) if "┄" in line]
    marks = [n for n, line in enumerate(lines[1:]) if "●" in line]
    assert goal < marks[0] < marks[1] and "⣶" in lines[marks[0]] and "⠛" in lines[marks[0] + 2]


def test_marks_at_one_place_stand_one_below_the_other() -> None:
    same = tuple(replace(FALLING, name=f"GPU {n}", mark=str(n), colour=f"c{n}") for n in range(3))
    last = [line[-1] for line in text(draw(replace(LOSS, series=same), Look(), 30, 14)) if line]
    assert {"0", "1", "2"} <= set(last)


def test_nothing_to_draw_is_said_in_full() -> None:
    empty = replace(LOSS, series=(), none="The losses appear here when training starts.")
    assert text(draw(empty, Look(at=3.0), 30, 5)) == [
        "loss nats", "The losses appear here when", "training starts.", "", "",
    ]  # fmt: skip


def test_values_are_saved_as_a_table() -> None:
    assert table(LOSS).splitlines()[:6] == [
        "step,round 1 dev,round 1", "1,,3.8", "2,,3.6", "3,,3.4", "4,,3.2", "5,3.5,3",
    ]  # fmt: skip


@example(points=[(1, 0.0)], width=1, height=6, log=False, at=None, x="time")
@given(
    points=st.lists(st.tuples(st.integers(0, 500), st.floats(-1e9, 1e9)), min_size=1, max_size=30),
    width=st.integers(0, 120),
    height=st.integers(0, 40),
    log=st.booleans(),
    at=st.none() | st.floats(-10, 600),
    x=st.sampled_from(["step", "round", "time"]),
)
def test_a_chart_fits_its_room_whatever_it_shows(points, width, height, log, at, x) -> None:  # type: ignore[no-untyped-def]
    series = Series("a long name of a run", tuple((float(a), b) for a, b in sorted(dict(points).items())), "a", "red")
    figure = Figure(name="loss", unit="nats", x=x, series=(series,), note="note", goal=3.0)
    lines = draw(figure, Look(log=log, at=at), width, height)
    assert len(lines) == (height if width else 0)
    assert all(sum(len(part) for part, _ in line) <= width for line in lines)
