"""The caps of a run while it works: people raise them, and are asked where calls would pass them or cost more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from engine.protocol.events import BudgetChanged, Emit, Log
from engine.protocol.questions import APPROVE, BATCH, BUDGET, REJECT, Answer, Question
from engine.protocol.run_dir import Run
from engine.protocol.status import Status
from engine.service.budget import Shortage
from engine.service.client import Client
from engine.service.full_price import FullPrice
from engine.settings.budget import Caps, changes
from engine.settings.schema import Service
from engine.worker.questions import Questions


class Start(Protocol):
    """Starts what goes on next to the work."""

    def __call__(self, task: Coroutine[Any, Any, Answer | None]) -> asyncio.Task[Answer | None]: ...


class RunBudget:
    """The caps in USD and in calls that hold now."""

    def __init__(self, run: Run, settings: Service, status: Callable[[], Status], emit: Emit) -> None:
        """`status` gives the run's status now."""
        self._run, self._status, self._emit = run, status, emit
        self.caps = Caps.of(settings)
        self._asking: asyncio.Task[Answer | None] | None = None

    def left(self, client: Client) -> float | None:
        """USD that may still be spent; None without a cap."""
        return None if self.caps.usd is None else self.caps.usd - client.spent

    async def watch(self, client: Client) -> None:
        """Pass on caps that people write into the run's settings, in the app or by hand, until this is cancelled."""
        async for caps in changes(self._run, self.caps, self._emit):
            self.caps = caps
            self._emit(BudgetChanged(usd=caps.usd, calls=caps.calls))
            self._emit(Log(level="info", message=f"the budget is now: {caps}"))
            await client.cap(*caps)

    def ask_for_more(self, shortage: Shortage, questions: Questions, start: Start) -> None:
        """Ask for a higher cap while calls wait; `close` ends the question."""
        question = Question(
            kind=BUDGET,
            round=self._status().round,
            reason=shortage.reason,
            cap=shortage.cap,
            used=shortage.used,
            least=shortage.least,
        )
        caps = self.caps

        def revised() -> Question | None:
            return question if self.caps == caps else None

        self._asking = start(questions.ask(question, revised))

    async def ask_full_price(self, calls: FullPrice, questions: Questions) -> bool:
        """Ask whether calls that no batch job answers may be sent directly; True for yes."""
        question = Question(
            kind=BATCH,
            round=self._status().round,
            reason=calls.reason,
            choices=(APPROVE, REJECT),
            cost_usd=calls.cost_usd,
            name=calls.name,
        )
        answer = await questions.ask(question, beforehand=not calls.by_hand, moot=lambda: calls.moot)
        return answer is not None and answer.choice == APPROVE

    def close(self) -> None:
        """Ask nobody any more."""
        if self._asking is not None:
            self._asking.cancel()
