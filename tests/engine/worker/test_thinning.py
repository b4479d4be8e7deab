from __future__ import annotations

import pytest

from engine.protocol.events import Event, Log, ServiceUsage, StageFinished, StageProgress, TrainMetrics
from engine.worker import thinning
from engine.worker.thinning import Thinning

WEEK_S = 7 * 24 * 3600


def usage(calls: int) -> ServiceUsage:
    return ServiceUsage(
        calls=calls, cached_calls=0, failed_calls=0, prompt_tokens=0, completion_tokens=0, cost_usd=0.0, stage="judge"
    )


def progress(done: int, total: int = 10**9) -> StageProgress:
    return StageProgress(done=done, total=total, unit="steps", stage="finetune", round=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(thinning.time, "monotonic", lambda: now[0])
    return now


def test_a_week_of_progress_is_not_a_million_events(clock: list[float]) -> None:
    thin, written, last, longest = Thinning(), 0, 0.0, 0.0
    for step in range(1, WEEK_S, 2):
        clock[0] = float(step)
        if thin.of(progress(step)):
            written, longest, last = written + 1, max(longest, clock[0] - last), clock[0]
    assert 30_000 < written < 60_000 and longest <= 20


def test_the_first_minute_is_told_as_it_happens(clock: list[float]) -> None:
    thin = Thinning()
    for step in range(100):
        clock[0] = step / 2
        assert thin.of(progress(step)) == [progress(step)]


def test_the_last_state_is_written_before_what_follows(clock: list[float]) -> None:
    thin = Thinning()
    done = StageFinished(seconds=1.0, counts={}, stage="judge")
    assert [thin.of(event) for event in (usage(1), usage(2), usage(3))] == [[usage(1)], [], []]
    warning = Log(level="warning", message="slow")
    assert thin.of(warning) == [warning]
    assert thin.of(done) == [usage(3), done]
    assert thin.of(done) == [done]


def test_ends_and_measurements_are_never_left_out(clock: list[float]) -> None:
    thin = Thinning()
    told: list[Event] = [
        progress(0, 5),
        progress(5, 5),
        TrainMetrics(step=1, steps=9, epoch=0.1, loss=1.0),
        TrainMetrics(step=2, steps=9, epoch=0.2, dev_loss=2.0),
        TrainMetrics(step=9, steps=9, epoch=1.0, loss=0.5),
    ]
    assert [one for event in told for one in thin.of(event)] == told
    assert thin.of(TrainMetrics(step=3, steps=9, epoch=0.3, loss=1.0)) == []
