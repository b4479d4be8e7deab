"""While a model answers nobody, one request tries on for all: each try may be billed, and helps the service little."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Outage:
    """Of one model; `who` are the requests that fail."""

    def __init__(self) -> None:
        self._prober: object | None = None
        self._over = asyncio.Event()

    def tries(self, who: object) -> bool:
        """Whether this request is the one that tries on: the first that asks."""
        self._prober = self._prober or who
        return self._prober is who

    async def wait(self, seconds: float) -> None:
        """Wait until the outage is over, or the one that tries gives up, `seconds` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def leave(self, who: object) -> None:
        """This request has ended: where it was the one that tries, the others go on by themselves."""
        if self._prober is who:
            self.end()

    def end(self) -> None:
        """The model has answered."""
        self._prober = None
        self._over.set()
        self._over = asyncio.Event()
