"""What a run asks people before it goes on, waited for as long as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from engine.evaluation import Decision
from engine.protocol import commands
from engine.protocol.commands import Command
from engine.protocol.events import ApprovalGiven, ApprovalRequested, Emit
from engine.protocol.run_dir import Run

POLL_S = 0.25


class Approvals:
    """The two questions: may another round be paid for, and have the new pairs been looked at?

    `given` answers both with yes beforehand. `wait_for` is told "approval" or "look" with its round, and "" when that
    has come; `budget_left` gives the USD that may still be spent, on which a decision depends.
    """

    def __init__(
        self,
        run: Run,
        *,
        given: bool,
        emit: Emit,
        wait_for: Callable[[str, int], None],
        budget_left: Callable[[], float | None],
    ) -> None:
        self._file = run.commands_file
        self._given, self._emit, self._wait_for, self._budget_left = given, emit, wait_for, budget_left

    async def another_round(
        self, decision: Decision, again: Callable[[], Decision], pairs: int
    ) -> tuple[Decision, Command | None]:
        """The answer to whether another round with so many pairs may be paid for.

        Reviews that come meanwhile count: `again` decides anew, and where that leaves nothing to pay for there is no
        answer.
        """
        answer = commands.answer(self._file, decision.round)
        if answer is None and self._given:
            answer = Command(kind="approve", round=decision.round, pairs=pairs, id="auto")
        if answer is None:
            self._wait_for("approval", decision.round)
            decision, answer = await self._answer(decision, again, pairs)
            self._wait_for("", decision.round)
        if answer is None:
            return decision, None
        wanted = answer.pairs or pairs
        approved = answer.kind == "approve"
        self._emit(ApprovalGiven(round=decision.round, approved=approved, pairs=wanted, command=answer.id))
        return decision, replace(answer, pairs=wanted)

    async def _answer(
        self, decision: Decision, again: Callable[[], Decision], pairs: int
    ) -> tuple[Decision, Command | None]:
        asked = ""
        seen: tuple[int, float | None] | None = None
        while True:
            now = (commands.size(self._file), self._budget_left())
            if now != seen:
                seen = now
                answer = commands.answer(self._file, decision.round)
                if answer is not None:
                    return decision, answer
                decision = again()
                if decision.outcome != "continue":
                    return decision, None
            if decision.reason != asked:
                asked, another = decision.reason, decision.next
                cost, seconds = (another.cost_usd, another.seconds) if another else (None, None)
                self._emit(
                    ApprovalRequested(round=decision.round, reason=asked, pairs=pairs, cost_usd=cost, seconds=seconds)
                )
            await asyncio.sleep(POLL_S)

    async def look(self, round_: int, pairs: int) -> None:
        """Return when somebody has looked at the pairs that a round wrote."""
        seen = commands.answer(self._file, round_, ("train",))
        if self._given or seen is not None:
            return
        self._wait_for("look", round_)
        reason = "The new pairs wait for a person's look before they are trained on."
        self._emit(
            ApprovalRequested(round=round_, stage="synthesize", reason=reason, pairs=pairs, cost_usd=None, seconds=None)
        )
        while seen is None:
            await asyncio.sleep(POLL_S)
            seen = commands.answer(self._file, round_, ("train",))
        self._wait_for("", round_)
        self._emit(ApprovalGiven(round=round_, stage="synthesize", approved=True, pairs=pairs, command=seen.id))
