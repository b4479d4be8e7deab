"""The charts of a run, by their values: every round, each score with its bounds, and the machine with its GPUs."""

from __future__ import annotations

import math
from functools import reduce as fold

import story

from engine.protocol.decision import Scores, Shares
from engine.protocol.events import Event, RunFinished, TrainMetrics
from engine.protocol.machine import Gpu, Machine, MachineRow
from engine.protocol.status import State
from engine.settings.schema import Target
from llamaduo_tui.views import figures
from llamaduo_tui.views.axes import Tick
from llamaduo_tui.views.figures import GIB
from llamaduo_tui.views.run_view import RunView, reduce


def seen(*events: Event) -> RunView:
    return fold(reduce, events, RunView())


def step(number: int, at: int, loss: float | None, dev: float | None = None, rate: float | None = None) -> TrainMetrics:
    return TrainMetrics(
        round=number, stage="finetune", step=at, steps=9, epoch=0.0, loss=loss, dev_loss=dev, learning_rate=rate
    )


def test_all_rounds_are_overlaid_each_with_its_digit_and_colour() -> None:
    view = seen(step(1, 0, None, 3.0), step(1, 1, 2.5), step(1, 2, math.nan), step(2, 1, 2.0, 1.5, 1e-4))
    loss, rate = figures.training(view)
    assert [(one.name, one.points, one.mark, one.line) for one in loss.series] == [
        ("round 1 dev", ((0.0, 3.0),), "1", False),
        ("round 1", ((1.0, 2.5),), "1", True),
        ("round 2 dev", ((1.0, 1.5),), "2", False),
        ("round 2", ((1.0, 2.0),), "2", True),
    ]
    assert loss.series[0].colour == loss.series[1].colour != loss.series[2].colour
    assert (rate.name, rate.series[0].points) == ("learning rate", ((1.0, 1e-4),))
    newest, _ = figures.training(view, earlier=False)
    assert [(one.name, one.mark) for one in newest.series] == [("round 2 dev", "◆"), ("round 2", "•")]
    assert newest.series[1].colour == loss.series[3].colour, "a round keeps its colour"


def test_scores_have_bounds_the_target_and_the_sealed_test_last() -> None:
    events = story.to_approval()
    view = seen(*events)
    precision, similarity = figures.scores(view, Target())
    means = [decision.precision.mean for decision in view.scored]
    (dev,) = precision.series
    assert [y for _, y in dev.points] == means and dev.bounds[0] == (means[0] - 5, means[0] + 5)
    assert (precision.goal, similarity.goal, precision.low, precision.high) == (85.0, 75.0, 0.0, 100.0)
    shares = Shares(precision=1.0, similarity=1.0)
    sealed = Scores(
        precision=story.interval(90), similarity=story.interval(80), coverage_50=shares, coverage_70=shares,
        prompts=9, verdicts=9, errors=0,
    )  # fmt: skip
    ended = reduce(view, RunFinished(state=State.REACHED, reason="", best_round=1, sealed=sealed))
    last = figures.scores(ended, Target(confidence=0.9))[1].series[-1]
    assert (last.name, last.points, last.bounds) == ("sealed, 10% risk", ((2.0, 80.0),), ((75.0, 85.0),))
    assert figures.scores(ended, None)[0].labels == (Tick(0.0, "0"), Tick(1.0, "1"), Tick(2.0, "sealed"))
    assert figures.scores(ended, Target(relative_to_teacher=3))[0].goal is None


def test_the_machine_has_its_own_gpus_and_a_gap_where_no_worker_was() -> None:
    def row(time: float, *gpus: Gpu) -> MachineRow:
        return MachineRow(time=time, seconds=10.0, machine=Machine(40.0, 8 * GIB, 24 * GIB, gpus))

    plain = figures.machine([row(110), row(120)], 100.0)
    assert [figure.name for figure in plain] == ["load", "memory"]
    assert plain[0].series[0].points == ((10.0, 40.0), (20.0, 40.0))
    assert (plain[1].series[0].points[0], plain[1].high) == ((10.0, 8.0), 24.0)
    rows = [
        row(110, Gpu(90.0, 40 * GIB, 80 * GIB, "3", 300.0, 60.0), Gpu(None, 5 * GIB, 20 * GIB, "0:1")),
        row(120, Gpu(80.0, 50 * GIB, 80 * GIB, "3", 310.0, 65.0)),
    ]
    load, _, memory, power, warm = figures.machine(rows, 100.0)
    assert [(one.name, one.mark, one.points[-1]) for one in load.series] == [
        ("CPU", "c", (20.0, 40.0)), ("GPU 3", "3", (20.0, 80.0)),
    ]  # fmt: skip
    assert [(one.name, one.points) for one in memory.series] == [
        ("GPU 3", ((10.0, 40.0), (20.0, 50.0))), ("GPU 0:1", ((10.0, 5.0),)),
    ]  # fmt: skip
    assert memory.high == 80.0 and power.series[0].points[-1] == (20.0, 310.0)
    assert warm.unit == "°C" and all(one.gap == 30.0 for figure in (load, memory, warm) for one in figure.series)


def test_without_a_record_a_page_says_so() -> None:
    assert figures.machine([], 0.0)[0].none == figures.NOT_RECORDED
    (loss,) = figures.training(RunView())
    assert loss.none == figures.NOT_TRAINED and not loss.places


def test_long_trainings_are_thinned_and_the_newest_point_stays() -> None:
    many = [(float(n), 1.0) for n in range(100_001)]
    train = figures.overlaid([("a", many, [(5.0, None), (6.0, 2.0)]), ("b", many[:3], [])]).series[1]
    assert len(train.points) <= figures.POINTS and train.points[-1] == (100_000.0, 1.0)
