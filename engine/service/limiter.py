"""Stay within a service's limits: known ones are never passed, unknown ones are found by trying."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.service.completion import Completion, Request

PACE = 0.98
"""Share of a limit that is used: a request that the network delays arrives closer to the next one."""

BURST_S = 0.25
"""Seconds of a rate that may be sent at once, less than services grant, for the same reason."""

FIRST_CALLS = 8
"""Calls in flight to begin with."""

SHRINK = 0.7

FIRST_INTERVAL_S, SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 0.25, 0.005, 30.0
SLOWER, MUCH_SLOWER, SETTLED = 1.1, 1.5, 3
"""By how much the interval between calls grows after a refusal: little where that many calls passed before it."""

NEAR, APPROACH, CREEP = 1.02, 0.2, 0.995
"""Back to just above the refused interval, a fifth of the way with each call that passes, then on by half a percent."""

KEPT_ENDS, COMPARED, IN_VAIN, STEADY_S = 400, 20, 0.8, 60.0
"""Calls that are remembered, and compared at least; the share of the refusals at twice the pace that is about as many;
seconds at one pace after that."""

NEWEST = 0.2
"""Weight of the newest completion in the estimate of tokens."""


class Bucket:
    """A token bucket that refills continuously and holds a quarter of a second's worth (at least one request)."""

    def __init__(self, per_minute: float) -> None:
        self._rate = PACE * per_minute / 60.0
        self._size = max(1.0, BURST_S * self._rate)
        self._level = self._size
        self._filled = time.monotonic()

    def seconds_until(self, amount: float) -> float:
        """How long until `amount` may be taken; more than the bucket holds waits for a full one."""
        now = time.monotonic()
        self._level = min(self._size, self._level + (now - self._filled) * self._rate)
        self._filled = now
        return max(0.0, (min(amount, self._size) - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take `amount`, or give it back if negative; below zero the bucket has to recover before the next call."""
        self._level -= amount


class Window:
    """How many calls may be in flight: it grows while they succeed, and shrinks where the service refuses some.

    By TCP's congestion control (additive increase, multiplicative decrease; Jacobson, "Congestion Avoidance and
    Control", 1988): by one with every success until the first refusal, then by one with every window of successes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = float(min(FIRST_CALLS, most))
        self._in_flight = 0
        self._refused = False
        self._shrunk = 0.0
        self._entrance = asyncio.Lock()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def size(self) -> int:
        return int(self._size)

    async def enter(self) -> None:
        """Wait for room; callers are served in order."""
        async with self._entrance:
            await self._room.wait()
            self._in_flight += 1
            self._update_room()

    def leave(self) -> None:
        self._in_flight -= 1
        self._update_room()

    def succeeded(self) -> None:
        """Grow, unless the calls would fit into a smaller window too."""
        if self._in_flight >= self.size:
            self._size = min(float(self._most), self._size + (1 / self._size if self._refused else 1))
            self._update_room()

    def refused(self, sent: float) -> None:
        """Shrink, once for all calls that were in flight together; `sent` is on the monotonic clock."""
        if sent >= self._shrunk:
            self._refused, self._shrunk = True, time.monotonic()
            self._size = max(1.0, self._size * SHRINK)
            self._update_room()

    def _update_room(self) -> None:
        if self._in_flight < self.size:
            self._room.set()
        else:
            self._room.clear()


class Pace:
    """The time between calls to a service that refuses some without saying when to come back.

    It closes in on the shortest interval that passes: longer after a refusal, then back towards the one that was
    refused, a little less each time.
    """

    def __init__(self) -> None:
        self.interval = 0.0
        """Seconds between calls; 0 while nothing was refused."""
        self._refused_at = 0.0
        """The interval that was last refused."""
        self._changed = 0.0
        self._passed = 0
        self._ends: deque[tuple[float, bool]] = deque(maxlen=KEPT_ENDS)
        """Of the latest calls: the interval then, and whether they passed."""
        self._steady_until = 0.0

    def refused(self, sent: float) -> None:
        """Slow down, once for all calls that were in flight together; `sent` is on the monotonic clock."""
        self._ends.append((self.interval, False))
        now = time.monotonic()
        if sent < self._changed or now < self._steady_until:
            return
        if self._slower_in_vain():
            self.interval, self._changed, self._steady_until = self.interval / 2, now, now + STEADY_S
            return
        if self._passed or not self.interval:  # where nothing passes at all, the interval is not the reason
            self._refused_at = self.interval
        slower = self.interval * (SLOWER if self._passed >= SETTLED else MUCH_SLOWER)
        self.interval = min(LONGEST_INTERVAL_S, slower or FIRST_INTERVAL_S)
        self._changed, self._passed = time.monotonic(), 0

    def passed(self, sent: float) -> None:
        """Speed up a little."""
        self._ends.append((self.interval, True))
        if not self.interval or sent < self._changed:
            return
        self._passed += 1
        near = NEAR * self._refused_at
        if self.interval > near:
            self.interval -= APPROACH * (self.interval - near) + 1e-6
        else:
            self.interval *= CREEP**self._passed
        if self.interval < SHORTEST_INTERVAL_S:
            self.interval = 0.0

    def _slower_in_vain(self) -> bool:
        """Whether the service refuses about as many at this pace as at twice it: then the pace is not the reason."""
        fast = [passed for interval, passed in self._ends if interval <= self.interval / 2]
        slow = [passed for interval, passed in self._ends if interval > self.interval / 2]
        if min(len(fast), len(slow)) < COMPARED or not any(slow):
            return False
        return slow.count(False) / len(slow) > IN_VAIN * fast.count(False) / len(fast)


class Limiter:
    """One for all calls to a model: bounds their rate and how many are in flight, and pauses on request.

    `rpm` and `tpm` are requests and tokens a minute, None where unknown; `concurrency` bounds the calls in flight.
    """

    def __init__(self, rpm: int | None, tpm: int | None, concurrency: int) -> None:
        self._requests = Bucket(rpm) if rpm else None
        self._tokens = Bucket(tpm) if tpm else None
        self._turn = asyncio.Lock()
        self._resume_at = 0.0
        self._pace = Pace()
        self.window = Window(concurrency)
        self.unknown = [kind for kind, limit in (("requests", rpm), ("tokens", tpm)) if limit is None]

    def pause(self, seconds: float) -> None:
        """Send no call for a while: the service requested it."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    def refused(self, sent: float, pause_s: float | None) -> None:
        """The service refused a call: send none for the pause that it names, else send them further apart."""
        if pause_s:
            self.window.refused(sent)
            self.pause(pause_s)
        else:
            self._pace.refused(sent)
            self.pause(self._pace.interval)

    def succeeded(self, sent: float, *, grow: bool) -> None:
        """The service answered a call; more may be in flight, where that is asked for."""
        self._pace.passed(sent)
        if grow:
            self.window.succeeded()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Take one of the places for calls in flight; callers are served in order."""
        await self.window.enter()
        try:
            yield
        finally:
            self.window.leave()

    async def turn(self, tokens: float) -> None:
        """Wait until a request that takes about `tokens` tokens, its completion included, may be sent."""
        async with self._turn:
            while (wait := self._wait(tokens)) > 0:  # noqa: ASYNC110 - time passes, no event is set
                await asyncio.sleep(wait)
            if self._pace.interval:
                self.pause(self._pace.interval)
            if self._requests:
                self._requests.take(1)
            if self._tokens:
                self._tokens.take(tokens)

    def correct(self, tokens: float) -> None:
        """Count by how many tokens a request took more (or less) than estimated."""
        if self._tokens:
            self._tokens.take(tokens)

    def _wait(self, tokens: float) -> float:
        waits = [self._resume_at - time.monotonic()]
        if self._requests:
            waits.append(self._requests.seconds_until(1))
        if self._tokens:
            waits.append(self._tokens.seconds_until(tokens))
        return max(waits)


class TokenEstimator:
    """Estimates the tokens of a model's requests, completions included, from those so far."""

    def __init__(self) -> None:
        self._per_byte = 1 / 3
        self._completion = 300.0

    def prompt_tokens(self, request: Request) -> float:
        return request.prompt_bytes * self._per_byte

    def estimate(self, request: Request) -> float:
        return self.prompt_tokens(request) + min(self._completion, float(request.max_completion_tokens))

    def learn(self, request: Request, completion: Completion) -> None:
        self._per_byte += NEWEST * (completion.prompt_tokens / max(1, request.prompt_bytes) - self._per_byte)
        self._completion += NEWEST * (completion.completion_tokens - self._completion)
