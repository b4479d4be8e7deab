"""Whether a model is asked again after a reply that cannot be read: each is paid, and a broken model takes them all."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from engine.service.ledger import Ledger
from engine.service.replies import MOST_REPLIES, Problem, ProblemKind

TROUBLED = 5
"""Requests in a row without a readable reply, after which a model that has answered before is in trouble."""

MOST_UNREAD = 2
"""Requests of a model that are asked again in vain, before anything of it could be read; others are asked once."""


class Patience:
    """One for all requests of a worker; `patience_s` are the seconds for which a model in trouble is waited for.

    A model has answered where the ledger has a readable reply of it.
    """

    def __init__(self, ledger: Ledger, patience_s: float, on_trouble: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._patience_s = patience_s
        self._on_trouble = on_trouble
        self._in_vain: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self._trouble_began: dict[str, float] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def answered(self, model: str) -> None:
        """Count a reply that could be read."""
        self._in_vain[model] = self._unanswered[model] = 0
        self._trouble_began.pop(model, None)

    def unanswered(self, model: str, problem: Problem) -> None:
        """Count a request whose first reply has a problem."""
        self._unanswered[model] += problem.kind != "refused"
        if self._is_troubled(model) and model not in self._trouble_began:
            self._trouble_began[model] = time.monotonic()
            self._on_trouble(f"{model} answers no request any more, asking now and then: {problem.reason}")

    def asked_in_vain(self, model: str) -> None:
        """Count a request that was asked again, and got no reply that could be read."""
        self._in_vain[model] += 1

    def asks_again(self, model: str, problem: Problem, problems: Counter[ProblemKind]) -> bool:
        """Whether to pay for another reply after so many of each kind without an answer.

        Empty ones of a model in trouble are waited out, as an outage is.
        """
        if problems[problem.kind] < MOST_REPLIES[problem.kind] and problems.total() < max(MOST_REPLIES.values()):
            return True
        if problem.kind not in ("empty", "broken") or not self._is_troubled(model):
            return False
        return self._has_patience(model)

    @asynccontextmanager
    async def turn_to_ask_again(self, model: str) -> AsyncIterator[bool]:
        """Whether it is worth asking again: while nothing of a model can be read, one request finds out for all."""
        if self._can_be_read(model):
            yield True
            return
        async with self._turns[model]:
            yield self._can_be_read(model) or self._has_patience(model)

    def _can_be_read(self, model: str) -> bool:
        return model in self._ledger.readable and not self._is_troubled(model)

    def _is_troubled(self, model: str) -> bool:
        """Whether a model that has answered before answers no request any more."""
        return model in self._ledger.readable and self._unanswered[model] >= TROUBLED

    def _has_patience(self, model: str) -> bool:
        """Whether a model of which nothing can be read is asked again: few times at first, later for `patience_s`."""
        if model not in self._ledger.readable:
            return self._in_vain[model] < MOST_UNREAD
        return time.monotonic() < self._trouble_began.get(model, math.inf) + self._patience_s
