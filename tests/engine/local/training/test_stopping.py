from __future__ import annotations

import pytest

from engine.local.training.stopping import Stopping


@pytest.mark.parametrize(
    ("steps", "train", "dev", "times"),
    [(20, 1000, 100, 1), (100, 1000, 100, 2), (1000, 1000, 100, 4), (1000, 1000, 300, 1), (1000, 1000, 5000, 1)],
)
def test_long_epochs_are_measured_more_often_where_that_is_cheap(steps: int, train: int, dev: int, times: int) -> None:
    stopping = Stopping.of(1, steps, train, dev)
    measured = [step for step in range(1, 2 * steps + 1) if stopping.measures(step)]
    assert len(measured) == 2 * times and {steps, 2 * steps} <= set(measured)


def test_patience_counts_epochs() -> None:
    stopping = Stopping(steps=100, per_epoch=4, patience=1.5)
    assert not stopping.is_over(349, 200) and stopping.is_over(350, 200)
    assert not Stopping(steps=100, per_epoch=4, patience=0).is_over(10_000, 100)
