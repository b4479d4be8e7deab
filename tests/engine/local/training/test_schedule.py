from __future__ import annotations

from typing import get_args

import pytest

from engine.local.training.schedule import Schedule
from engine.settings.local import Scheduler


def rates(schedule: Schedule) -> list[float]:
    return [schedule.rate(step) for step in range(schedule.total)]


@pytest.mark.parametrize("kind", get_args(Scheduler))
def test_the_rate_rises_to_its_peak_and_never_again(kind: Scheduler) -> None:
    schedule = Schedule.of(kind, 0.1, steps_per_epoch=20, epochs=5)
    found = rates(schedule)
    assert (schedule.total, schedule.warmup) == (100, 6), "a share of three epochs"
    assert found[:6] == sorted(found[:6]) and found[6] == 1.0
    assert found[6:] == sorted(found[6:], reverse=True)
    assert min(found) > 0 and (found[-1] < 0.1) == (kind != "constant")


def test_the_stable_rate_decays_in_the_last_fifth() -> None:
    schedule = Schedule.of("warmup_stable_decay", 0, steps_per_epoch=50, epochs=2)
    assert rates(schedule)[:80] == [1.0] * 80 and schedule.rate(80) < 0.9
    assert not schedule.decays(79) and schedule.decays(80)


def test_a_decay_that_is_brought_forward_takes_a_fifth_of_all_steps() -> None:
    schedule = Schedule.of("warmup_stable_decay", 0.1, steps_per_epoch=50, epochs=10).decaying_from(100)
    assert (schedule.total, schedule.decay) == (125, 25)
    assert schedule.rate(99) == 1.0 and schedule.decays(100)
    assert rates(schedule)[100:] == sorted(rates(schedule)[100:], reverse=True) and schedule.rate(124) < 0.05


def test_the_shortest_training_has_a_rate() -> None:
    for kind in get_args(Scheduler):
        assert Schedule.of(kind, 0.1, steps_per_epoch=1, epochs=1).rate(0) > 0
