"""Hard caps in money and in calls: reserved before a call, settled after it; when one is used up, calls wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

TINY = 1e-12
"""The rounding error that sums of dollars may have."""


class Shortage(NamedTuple):
    """Why a call does not fit: `used` of a cap in USD or in calls, and the `least` cap that would allow it."""

    cap: Literal["usd", "calls"]
    used: float
    least: float
    reason: str


class Budget:
    """What is spent, what calls in flight may still cost, and the caps (None: no cap), in USD and in calls."""

    def __init__(
        self,
        max_usd: float | None,
        max_calls: int | None,
        *,
        spent: float,
        calls_used: int,
        on_used_up: Callable[[Shortage], None],
    ) -> None:
        self._max_usd, self._max_calls = max_usd, max_calls
        self._spent, self._calls_used = spent, calls_used
        self._reserved, self._in_flight = 0.0, 0
        self._on_used_up = on_used_up
        self._reported = False
        self._changed = asyncio.Condition()

    @property
    def spent(self) -> float:
        """USD of all calls so far, interrupted ones included."""
        return self._spent

    async def reserve(self, max_cost: float) -> None:
        """Reserve room for a call that costs at most `max_cost` USD.

        Waits for calls in flight where their true cost may leave room, else for higher caps, and reports that.
        """
        async with self._changed:
            while shortage := self._shortage(max_cost, 1):
                if self._in_flight == 0 and not self._reported:
                    self._reported = True
                    self._on_used_up(shortage)
                await self._changed.wait()
            self.hold(max_cost, 1)

    async def reserve_some(self, max_costs: Sequence[float], least: int) -> int:
        """Reserve room for the first of several calls, as many as fit now; returns how many.

        `max_costs` are in USD. Waits for calls in flight while fewer than `least` fit. With nothing in flight one is
        enough; where not even that fits, waits for higher caps, and reports that.
        """
        async with self._changed:
            while (fit := self._fitting(max_costs)) < (least if self._in_flight else 1):
                if self._in_flight == 0 and not self._reported:
                    self._reported = True
                    shortage = self._shortage(sum(max_costs[:least]), least) or self._shortage(max_costs[0], 1)
                    assert shortage is not None
                    self._on_used_up(shortage)
                await self._changed.wait()
            self.hold(sum(max_costs[:fit]), fit)
            return fit

    def hold(self, max_cost: float, calls: int) -> None:
        """Reserve room for calls that are in flight already, whatever the caps."""
        self._reserved += max_cost
        self._in_flight += calls

    async def settle(self, max_cost: float, cost: float, calls: int, reserved: int = 1) -> None:
        """Release a reservation of `reserved` calls; count what they cost, and how many of them were paid."""
        async with self._changed:
            self._in_flight -= reserved
            self._reserved = self._reserved - max_cost if self._in_flight else 0.0
            self._spent += cost
            self._calls_used += calls
            self._changed.notify_all()

    async def cap(self, max_usd: float | None, max_calls: int | None) -> None:
        """Set other caps; waiting calls check again."""
        async with self._changed:
            self._max_usd, self._max_calls = max_usd, max_calls
            self._reported = False
            self._changed.notify_all()

    def _fitting(self, max_costs: Sequence[float]) -> int:
        """How many calls fit, from the first on."""
        total = 0.0
        for number, cost in enumerate(max_costs):
            total += cost
            if self._shortage(total, number + 1) is not None:
                return number
        return len(max_costs)

    def _shortage(self, max_cost: float, calls: int) -> Shortage | None:
        needed = self._spent + self._reserved + max_cost
        if self._max_usd is not None and needed > self._max_usd + TINY:
            next_ = "call" if calls == 1 else f"{calls:,} calls"
            reason = (
                f"${self._spent:.2f} of ${self._max_usd:.2f} are spent, and the next {next_} may cost ${max_cost:.4f}"
            )
            return Shortage("usd", self._spent, needed, reason)
        used = self._calls_used + self._in_flight
        if self._max_calls is not None and used + calls > self._max_calls:
            reason = f"{used:,} of {self._max_calls:,} calls are used, and {calls:,} more needed"
            return Shortage("calls", used, used + calls, reason)
        return None
