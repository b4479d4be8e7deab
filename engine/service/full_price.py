"""Calls that no batch job answers: what they cost when they are sent directly, and the question whether they may be."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from engine.protocol.counts import number_of
from engine.protocol.errors import ServiceError
from engine.service.callers import Callers, Requests
from engine.service.completion import Completion, Request
from engine.service.models import price
from engine.settings.schema import Service


@dataclass(slots=True, kw_only=True)
class FullPrice:
    """The question whether calls may be sent directly, at the full price, instead of in a batch job.

    `name` tells it from others, `reason` says why it is asked, with the figures. `cost_usd` is what the calls are
    expected to cost, else the most that they can; None: unknown. `by_hand` where a person has cancelled their job,
    which no approval given beforehand overrules. `moot` is set once nothing is left to ask.
    """

    reason: str
    cost_usd: float | None
    by_hand: bool = False
    moot: bool = False
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])


Ask = Callable[[FullPrice], Awaitable[bool]]
"""Asks a person; True: send the calls directly, False: use batch jobs only."""


async def nobody_to_ask(question: FullPrice) -> bool:
    """For programs without a person: raises ServiceError."""
    raise ServiceError(question.reason, "resume to send a new batch job, or set batch = false to pay the full price")


class DirectCalls:
    """The calls of a model that leave the batch jobs: sent directly after a warning, or after a person's approval.

    `on_rejected` gets those that a person wants in another job.
    """

    def __init__(
        self,
        model: str,
        settings: Service,
        callers: Callers,
        *,
        ask: Ask,
        on_trouble: Callable[[str], None],
        on_rejected: Callable[[Requests], None],
    ) -> None:
        self._estimate = _Estimate(model, settings)
        self._callers = callers
        self._ask, self._on_trouble, self._on_rejected = ask, on_trouble, on_rejected
        self._held: Requests = {}
        self._reasons: dict[str, bool] = {}
        self._asking = asyncio.Lock()

    def learn(self, completions: Collection[Completion]) -> None:
        """Take the tokens of these completions as usual ones."""
        self._estimate.learn(completions)

    def holds(self, key: str) -> bool:
        """Whether a request waits for a person's answer."""
        return key in self._held

    def send(self, requests: Requests, reason: str) -> None:
        """Have these requests sent directly, and say why and what they cost."""
        if requests:
            at = self._estimate.describe(requests.values())
            self._on_trouble(f"{reason}; {_calls(requests)} sent directly, at the full price: {at}")
            self._callers.give(requests, {})

    def question(self, requests: Requests, reason: str, *, by_hand: bool = False) -> FullPrice:
        """The question whether these requests may be sent directly."""
        at, cost = self._estimate.describe(requests.values()), self._estimate.cost(requests.values())
        return FullPrice(reason=f"Send {_calls(requests)} directly ({at})? {reason}", cost_usd=cost, by_hand=by_hand)

    async def ask(self, requests: Requests, reason: str, *, by_hand: bool = False) -> None:
        """Ask a person how to go on with these requests; those that come while a question is open share the next."""
        self._held.update(requests)
        self._reasons[reason] = by_hand
        async with self._asking:
            held, reasons = self._callers.wanted(self._held), self._reasons
            self._reasons = {}
            if not held:
                return
            why = next(iter(reasons)) + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")
            try:
                approved = await self._ask(self.question(held, why, by_hand=any(reasons.values())))
            except Exception as error:
                self._callers.fail(held, error)
                raise
            finally:
                self._held = {key: request for key, request in self._held.items() if key not in held}
            if approved:
                self.send(held, why)
            else:
                self._on_rejected(self._callers.wanted(held))


class _Estimate:
    """What calls of a model cost directly, judged by the completions that its jobs have brought."""

    def __init__(self, model: str, settings: Service) -> None:
        self._prices = price(model, settings)
        self._completions = self._prompt_tokens = self._completion_tokens = 0

    def learn(self, completions: Collection[Completion]) -> None:
        """Take the tokens of these completions as usual ones."""
        self._completions += len(completions)
        self._prompt_tokens += sum(completion.prompt_tokens for completion in completions)
        self._completion_tokens += sum(completion.completion_tokens for completion in completions)

    def cost(self, requests: Collection[Request]) -> float | None:
        """USD that the requests are expected to cost, else the most that they can; None: the price is unknown."""
        if self._prices is None:
            return None
        if not self._completions:
            return sum(request.max_cost(self._prices) for request in requests)
        prompt_price, completion_price = self._prices
        all_ = self._prompt_tokens * prompt_price + self._completion_tokens * completion_price
        return len(requests) * all_ / self._completions

    def describe(self, requests: Collection[Request]) -> str:
        """The cost in words."""
        cost = self.cost(requests)
        if cost is None:
            return "at an unknown price"
        return f"{'about' if self._completions else 'at most'} {usd(cost)}"


def usd(amount: float) -> str:
    """An amount with the digits that matter."""
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"


def _calls(requests: Requests) -> str:
    return number_of(len(requests), "call")
