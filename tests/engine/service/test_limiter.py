import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.service import limiter as module
from engine.service.limiter import FIRST_CALLS, PACE, SHRINK, Limiter, Pace, Window


class Clock:
    """Time that passes where somebody sleeps, and in no other way."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + max(seconds, 1e-6)
        await REAL_SLEEP(0)
        self.now = max(self.now, until)


REAL_SLEEP = asyncio.sleep


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    install(found, monkeypatch)
    return found


def install(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", clock)
    kept: dict[str, Any] = {"Lock": asyncio.Lock, "Event": asyncio.Event, "sleep": clock.sleep}
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(**kept))


Sent = list[tuple[float, int]]


async def send_all(limiter: Limiter, clock: Clock, sizes: list[int]) -> Sent:
    sent: Sent = []

    async def send(size: int) -> None:
        async with limiter.slot():
            await limiter.turn(size)
            sent.append((clock.now, size))

    await asyncio.gather(*map(send, sizes))
    return sent


def most_in_a_window(amounts: Sent, rate: float) -> float:
    """The most that any window took beyond its length times the rate."""
    worst = 0.0
    for start in range(len(amounts)):
        taken = 0.0
        for end in range(start, len(amounts)):
            taken += amounts[end][1]
            worst = max(worst, taken - rate * (amounts[end][0] - amounts[start][0]))
    return worst


@given(
    rpm=st.none() | st.integers(1, 600),
    tpm=st.none() | st.integers(60, 60_000),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=25),
    concurrency=st.integers(1, 30),
)
def test_no_window_takes_more_than_rate_times_time_and_a_burst(
    rpm: int | None, tpm: int | None, sizes: list[int], concurrency: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock()
        install(clock, monkeypatch)
        sent = asyncio.run(send_all(Limiter(rpm, tpm, concurrency), clock, sizes))

    assert sorted(size for _, size in sent) == sorted(sizes)
    if rpm:
        assert most_in_a_window([(at, 1) for at, _ in sent], rpm / 60) <= max(1.0, rpm / 60) + 1e-3
    if tpm:
        # A request larger than the bucket waits for a full one, and is then a burst by itself.
        assert most_in_a_window(sent, tpm / 60) <= max(tpm / 60, *sizes) + 1e-3


async def test_the_rate_is_used_up(clock: Clock) -> None:
    """Not only never too fast: 60 a minute means 60 in a minute."""
    began = clock.now
    await send_all(Limiter(60, None, 8), clock, [1] * 61)

    assert clock.now - began == pytest.approx(60 / PACE, abs=0.1)


async def test_callers_are_served_in_order(clock: Clock) -> None:
    sent = await send_all(Limiter(60, None, 4), clock, list(range(1, 20)))

    assert [size for _, size in sent] == list(range(1, 20))


async def test_without_limits_nobody_waits(clock: Clock) -> None:
    await send_all(Limiter(None, None, 100), clock, [10_000] * 100)

    assert clock.now == 1000.0


async def test_a_pause_holds_everybody(clock: Clock) -> None:
    limiter = Limiter(None, None, 8)
    limiter.pause(30)
    limiter.pause(10)
    sent = await send_all(limiter, clock, [1, 1, 1])

    assert [at for at, _ in sent] == [pytest.approx(1030)] * 3


async def test_what_was_taken_beyond_the_announcement_delays_the_next(clock: Clock) -> None:
    limiter = Limiter(None, 6000, 8)
    await limiter.turn(100)
    limiter.correct(900)
    await limiter.turn(100)
    assert clock.now == pytest.approx(1000 + 10 / PACE, abs=0.1)
    limiter.correct(-100)
    await limiter.turn(20)
    assert clock.now == pytest.approx(1000 + 10 / PACE, abs=0.1)


async def test_a_cancelled_caller_leaves_its_place(clock: Clock) -> None:
    limiter = Limiter(None, None, 1)
    entered = asyncio.Event()

    async def hold() -> None:
        async with limiter.slot():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), limiter.slot():
        pass


async def fill(window: Window) -> None:
    """Have as many calls in flight as may be."""
    while window._in_flight < window.size:
        await window.enter()


async def answer_all(window: Window) -> None:
    """One window of answers, each of whose places is taken at once."""
    for _ in range(window.size):
        window.succeeded()
        window.leave()
        await fill(window)


async def test_the_window_doubles_until_the_first_refusal_then_adds_one(clock: Clock) -> None:
    window = Window(100)
    await fill(window)
    await answer_all(window)
    assert window.size == 2 * FIRST_CALLS
    clock.now += 1
    window.refused(sent=clock.now)
    shrunk = window.size
    assert shrunk == int(2 * FIRST_CALLS * SHRINK)
    while window._in_flight > shrunk:
        window.leave()
    await answer_all(window)
    assert window.size in (shrunk, shrunk + 1)


async def test_calls_refused_together_shrink_the_window_once(clock: Clock) -> None:
    window = Window(100)
    sent = clock.now
    clock.now += 1
    for _ in range(8):
        window.refused(sent)
    assert window.size == int(FIRST_CALLS * SHRINK)
    window.refused(clock.now + 1)
    assert window.size < int(FIRST_CALLS * SHRINK)
    for _ in range(50):
        clock.now += 1
        window.refused(clock.now)
    assert window.size == 1


async def test_a_window_that_is_not_full_has_no_reason_to_grow(clock: Clock) -> None:
    window = Window(100)
    await window.enter()
    for _ in range(50):
        window.succeeded()
    assert window.size == FIRST_CALLS


async def test_the_window_keeps_to_its_bound(clock: Clock) -> None:
    window = Window(11)
    for _ in range(5):
        await fill(window)
        await answer_all(window)
    assert window.size == 11
    assert Window(3).size == 3


@pytest.mark.parametrize(("limit", "latency"), [(1.0, 0.5), (1.0, 2.0), (10.0, 1.0), (0.2, 2.0)])
def test_the_pace_finds_a_limit_that_nobody_tells(
    limit: float, latency: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that grants one call every so often, saves none up, and refuses the others without a word."""
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    pace, allowed, passed, refused = Pace(), 0.0, 0, 0
    replies: list[tuple[float, float]] = []
    while clock[0] < 200 / limit:
        for at, sent in [reply for reply in replies if reply[0] <= clock[0]]:
            replies.remove((at, sent))
            pace.passed(sent)
        if clock[0] >= allowed:
            allowed, passed = clock[0] + 1 / limit, passed + 1
            replies.append((clock[0] + latency, clock[0]))
        else:
            refused += 1
            pace.refused(clock[0])
        clock[0] += pace.interval or 0.01

    assert passed >= 0.8 * 200
    assert refused <= 60


def test_after_a_blackout_the_pace_goes_back_to_what_passed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals while nothing passes say nothing of the rate."""
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    pace = Pace()
    while now[0] < 1300:
        pace.refused(now[0])
        now[0] += pace.interval
    began, calls = now[0], 0
    while pace.interval > 0.05 and calls < 100:
        pace.passed(now[0])
        now[0] += pace.interval
        calls += 1

    assert calls < 40 and now[0] - began < 200


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25])
def test_refusals_that_have_nothing_to_do_with_the_pace_do_not_stop_the_work(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a shared pool of capacity, which refuses some calls however slowly they come."""
    clock, dice = [100.0], random.Random(1)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    pace, slowest, replies = Pace(), 0.0, list[tuple[float, bool]]()
    for number in range(3000):
        clock[0] += max(pace.interval, 0.06)
        for sent, passed in [reply for reply in replies if reply[0] + 1 <= clock[0]]:
            replies.remove((sent, passed))
            (pace.passed if passed else pace.refused)(sent)
        replies.append((clock[0], dice.random() >= share))
        slowest = max(slowest, pace.interval if number > 1000 else 0.0)

    assert slowest < 3
