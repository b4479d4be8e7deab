"""A hard cap in money and in calls: reserved before a call, settled after it; where it is used up, calls wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, NamedTuple

TINY = 1e-12
"""What is left of sums of dollars by rounding."""


class Shortage(NamedTuple):
    """Why a call does not fit: `used` of a cap in USD or in calls, and the `least` cap that would let it go."""

    cap: Literal["usd", "calls"]
    used: float
    least: float
    reason: str


class Budget:
    """What was spent, what calls in flight may still cost, and the caps (None: no cap), in USD and in calls."""

    def __init__(
        self, usd: float | None, calls: int | None, *, spent: float, asked: int, on_used_up: Callable[[Shortage], None]
    ) -> None:
        self._usd, self._calls = usd, calls
        self._spent, self._asked = spent, asked
        self._reserved, self._in_flight = 0.0, 0
        self._on_used_up = on_used_up
        self._told = False
        self._changed = asyncio.Condition()

    @property
    def spent(self) -> float:
        """USD of all calls so far, of those too whose answer was lost."""
        return self._spent

    async def reserve(self, most: float, calls: int = 1) -> None:
        """Set calls that together cost at most `most` aside.

        Waits for calls in flight where their true cost may leave room, else for higher caps, and says so.
        """
        async with self._changed:
            while shortage := self._shortage(most, calls):
                if self._in_flight == 0 and not self._told:
                    self._told = True
                    self._on_used_up(shortage)
                await self._changed.wait()
            self.hold(most, calls)

    def hold(self, most: float, calls: int) -> None:
        """Set calls aside that are on their way already, whatever the caps."""
        self._reserved += most
        self._in_flight += calls

    async def settle(self, most: float, cost: float, calls: int, reserved: int = 1) -> None:
        """Give a reservation (of so many calls) back; book what these did cost, and how many of them it was."""
        async with self._changed:
            self._in_flight -= reserved
            self._reserved = self._reserved - most if self._in_flight else 0.0
            self._spent += cost
            self._asked += calls
            self._changed.notify_all()

    async def cap(self, usd: float | None, calls: int | None) -> None:
        """Set other caps; who waits looks again."""
        async with self._changed:
            self._usd, self._calls = usd, calls
            self._told = False
            self._changed.notify_all()

    def _shortage(self, most: float, calls: int) -> Shortage | None:
        needed = self._spent + self._reserved + most
        if self._usd is not None and needed > self._usd + TINY:
            coming = "call" if calls == 1 else f"{calls:,} calls"
            reason = f"${self._spent:.2f} of ${self._usd:.2f} are spent, and the next {coming} may cost ${most:.4f}"
            return Shortage("usd", self._spent, needed, reason)
        asked = self._asked + self._in_flight
        if self._calls is not None and asked + calls > self._calls:
            reason = f"{asked:,} of {self._calls:,} calls are used, and {calls:,} more are needed"
            return Shortage("calls", asked, asked + calls, reason)
        return None
