"""The charts of a run: its training, its scores by round, and its machine over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from engine.protocol.decision import Interval, Scores
from engine.protocol.machine import Gpu, MachineRow
from engine.settings.schema import Target
from llamaduo_tui.views.axes import Tick
from llamaduo_tui.views.chart_data import COLOURS, MARKS, Figure, Point, Series
from llamaduo_tui.views.run_view import Loss, RunView, Section, goals

Measured = tuple[float, float | None]
"""A place, and what was measured there, if anything was."""

GIB = 2**30
MOST = 1e100
"""Of a value that is drawn."""

POINTS = 2_000
"""Of a series: more than a terminal has columns of dots."""

GAP = 3.0
"""Between two rows of the machine, in the time that they stand for: a longer one had no worker."""

SEVERAL = "lines: training, digits: dev"
NOT_TRAINED = "The losses appear here when training starts."
NOT_SCORED = "The scores appear here when a round is judged."
NOT_RECORDED = "The machine appears here once a worker has recorded it; runs of older versions have no record."


class Page(StrEnum):
    """Charts that belong together, and share what x means."""

    TRAINING = "training"
    SCORES = "scores"
    MACHINE = "machine"


def training(view: RunView, earlier: bool = True) -> tuple[Figure, ...]:
    """Loss, learning rate and speed by step: all rounds that trained, or the newest one."""
    sections = [section for section in view.sections if section.losses]
    shown = sections if earlier else sections[-1:]
    one = len(shown) == 1
    losses: list[Series] = []
    for section in shown:
        mark, colour = _round_mark(section), _round_colour(section)
        name = _round_name(section)
        dev = _points(section, lambda loss: loss.dev)
        train = _points(section, lambda loss: loss.train)
        losses += [
            Series(f"{name} dev", dev, "◆" if one else mark, colour, line=False, brief=True),
            Series(name, train, "•" if one else mark, colour),
        ]
    return (
        Figure(
            name="loss",
            unit="nats a token",
            x="step",
            series=tuple(losses),
            note="line: training, ◆: dev" if one else SEVERAL,
            none=NOT_TRAINED,
        ),
        *_by_step("learning rate", "", shown, lambda loss: loss.learning_rate),
        *_by_step("speed", "tokens a second", shown, lambda loss: loss.tokens_per_second),
    )


def scores(view: RunView, target: Target | None) -> tuple[Figure, ...]:
    """Precision and similarity by round with their bounds and the target; the sealed test is last."""
    scored = [section for section in view.sections if section.score is not None]
    final = view.outcome.sealed if view.outcome is not None else None
    risk = f", {1 - target.confidence:.0%} risk" if target is not None else ""
    figures = []
    for name, goal in zip(("precision", "similarity"), goals(target), strict=True):
        means = [
            (float(section.part), _measure(section.score, name))
            for section in scored
            if isinstance(section.part, int) and section.score is not None
        ]
        labels = [Tick(at, f"{at:.0f}") for at, _ in means]
        series = [_scored("dev", means, "●", COLOURS[0])]
        if final is not None:
            at = max((at for at, _ in means), default=0.0) + 1
            labels.append(Tick(at, "sealed"))
            series.append(_scored(f"sealed{risk}", [(at, _measure(final, name))], "■", COLOURS[2]))
        figures.append(
            Figure(
                name=name,
                unit="points, bounds at 1% risk",
                x="round",
                series=tuple(series),
                low=0.0,
                high=100.0,
                goal=goal,
                labels=tuple(labels),
                none=NOT_SCORED,
            )
        )
    return tuple(figures)


def machine(rows: Sequence[MachineRow], began: float) -> tuple[Figure, ...]:
    """Load, memory, power and temperature by seconds since a run began; the last two where the GPUs tell them."""
    gap = GAP * max((row.seconds for row in rows), default=0.0)
    gpus = list(dict.fromkeys(gpu.index for row in rows for gpu in row.machine.gpus))

    def of_gpu(index: str, name: str, figure: Callable[[Gpu], float | None]) -> Series:
        place = gpus.index(index)
        found = [(row.time - began, figure(gpu)) for row in rows for gpu in row.machine.gpus if gpu.index == index]
        mark, colour = index[-1:] or "g", COLOURS[(place + 1) % len(COLOURS)]
        return Series(name, _finite(found), mark, colour, gap=gap)

    def of_machine(name: str, mark: str, figure: Callable[[MachineRow], float]) -> Series:
        points = _finite((row.time - began, figure(row)) for row in rows)
        return Series(name, points, mark, COLOURS[0], gap=gap, brief=name == "memory")

    def figures(name: str, unit: str, series: Iterable[Series], high: float | None = None) -> Figure:
        known = tuple(one for one in series if one.points)
        return Figure(name=name, unit=unit, x="time", series=known, low=0.0, high=high, none=NOT_RECORDED)

    used = [of_gpu(index, f"GPU {index}", lambda gpu: gpu.used / GIB) for index in gpus]
    busy = [of_gpu(index, f"GPU {index}", lambda gpu: gpu.busy) for index in gpus]
    power = figures("power", "watts", [of_gpu(index, f"GPU {index}", lambda gpu: gpu.power_w) for index in gpus])
    warm = figures("temperature", "°C", [of_gpu(index, f"GPU {index}", lambda gpu: gpu.celsius) for index in gpus])
    total = max((row.machine.total for row in rows), default=0) / GIB
    memory = figures("memory", "GiB", [of_machine("memory", "m", lambda row: row.machine.used / GIB)], total or None)
    on_gpus = figures("GPU memory", "GiB", used, _most(rows) or None)
    load = figures("load", "%", [of_machine("CPU", "c", lambda row: row.machine.busy), *busy], 100.0)
    return (load, memory, *(one for one in (on_gpus, power, warm) if one.series))


def overlaid(losses: Sequence[tuple[str, Iterable[Measured], Iterable[Measured]]]) -> Figure:
    """The losses of several trainings by step: each its name, its training losses and its dev losses."""
    series: list[Series] = []
    for number, (name, train, dev) in enumerate(losses):
        mark, colour = MARKS[number % len(MARKS)], COLOURS[number % len(COLOURS)]
        series += [
            Series(f"{name} dev", _thin(_finite(dev)), mark, colour, line=False, brief=True),
            Series(name, _thin(_finite(train)), mark, colour),
        ]
    return Figure(
        name="loss", unit="nats a token", x="step", series=tuple(series), note=SEVERAL, none="None of them was trained."
    )


def _most(rows: Sequence[MachineRow]) -> float:
    """The memory of the largest GPU, in GiB."""
    return max((gpu.total for row in rows for gpu in row.machine.gpus), default=0) / GIB


def _by_step(name: str, unit: str, sections: Sequence[Section], figure: Callable[[Loss], float | None]) -> list[Figure]:
    """A figure where it was measured, else none."""
    series = tuple(
        Series(_round_name(section), points, _round_mark(section), _round_colour(section))
        for section in sections
        if (points := _points(section, figure))
    )
    return [Figure(name=name, unit=unit, x="step", series=series)] if series else []


def _round_name(section: Section) -> str:
    return f"round {section.part}"


def _round_mark(section: Section) -> str:
    """The last digit of the round, which does without colours."""
    return str(section.part)[-1]


def _round_colour(section: Section) -> str:
    """The same for a round however many others there are."""
    return COLOURS[((section.part if isinstance(section.part, int) else 0) - 1) % len(COLOURS)]


def _measure(value: Scores, name: str) -> Interval:
    return value.precision if name == "precision" else value.similarity


def _points(section: Section, figure: Callable[[Loss], float | None]) -> tuple[Point, ...]:
    return _finite((float(loss.step), figure(loss)) for loss in section.losses)


def _finite(points: Iterable[Measured]) -> tuple[Point, ...]:
    """The points that can be drawn: training that diverges has losses that are not finite."""
    return tuple((x, y) for x, y in points if y is not None and abs(y) < MOST)


def _thin(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Few enough points to draw in milliseconds, the newest among them."""
    return points[:: -max(1, -(-len(points) // POINTS))][::-1]


def _scored(name: str, means: Sequence[tuple[float, Interval]], mark: str, colour: str) -> Series:
    points = tuple((at, value.mean) for at, value in means)
    bounds = tuple((value.low, value.high) for _, value in means)
    return Series(name, points, mark, colour, line=False, bounds=bounds)
