"""A hard cap in money: reserved before a call, settled after it."""

from __future__ import annotations

import asyncio

from engine.errors import BudgetError


class Budget:
    """What was spent, what calls in flight may still cost, and the cap (None: no cap), all in USD."""

    def __init__(self, cap: float | None, spent: float) -> None:
        self.spent = spent
        self._cap = cap
        self._reserved = 0.0
        self._settled = asyncio.Condition()

    async def reserve(self, most: float) -> None:
        """Set `most` aside; waits for calls in flight where their true cost may leave room.

        Raises BudgetError when the call could pass the cap even after those are settled.
        """
        async with self._settled:
            while self._cap is not None and self.spent + self._reserved + most > self._cap:
                if self._reserved == 0:
                    raise BudgetError(
                        f"the budget of ${self._cap:.2f} is used up: ${self.spent:.2f} spent, "
                        f"and the next call may cost ${most:.4f}",
                        "raise budget_usd in the run's migration.toml, then resume: nothing is lost or paid twice",
                    )
                await self._settled.wait()
            self._reserved += most

    async def settle(self, most: float, cost: float) -> None:
        """Give a reservation back and book what the call did cost."""
        async with self._settled:
            self._reserved = max(0.0, self._reserved - most)
            if self._reserved < 1e-12:
                self._reserved = 0.0
            self.spent += cost
            self._settled.notify_all()
