"""Comparisons of both sides' answers to the same request, which move the canary.

Which requests are compared is drawn before any answer is there. The same answer twice costs nothing and differs by 0;
of two others a judge scores each by itself (precision, 1 to 100), and the difference is local minus service. A local
answer that is missing or breaks the contract counts as the worst, and so does one without a readable verdict, where the
service's would count as the best; a local server that cannot be reached, or a service
without an answer, says nothing of quality and is left out. Where the budget is used up nothing more is compared: to go
on with the free ones alone would count the equal answers and not the different ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from engine.evaluation.intervals import SCORES
from engine.protocol.errors import LlamaDuoError
from engine.protocol.rows import normalise
from engine.service import output_parsing
from engine.service.client import Client
from engine.service.faults import RefusedError
from engine.service.prompts import Prompts
from engine.takeover.canary import WORST
from engine.takeover.chat import ChatReply
from engine.takeover.checks import Checks
from engine.takeover.journal import Journal

MAX_TOKENS = 4096
"""Room for a judge that thinks before its verdict."""

AT_ONCE = 8
MOST_WAITING = 200
"""Comparisons at work and waiting; while there are more no request is drawn for another."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both answers to a request; `local` is None where it is missing, and `failed` then says why."""

    key: str
    prompt: str
    service: ChatReply
    local: ChatReply | None
    failed: str = ""


class Comparer:
    """Compares pairs in the background; `on_difference` gets each difference and whether the answers are the same."""

    def __init__(
        self,
        client: Client,
        judges: list[str],
        prompts: Prompts,
        checks: Checks,
        journal: Journal,
        *,
        contents: bool,
        on_difference: Callable[[float, bool], None],
    ) -> None:
        self._client, self._judges, self._prompts = client, judges, prompts
        self._checks, self._journal, self._contents = checks, journal, contents
        self._on_difference = on_difference
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self.held = ""

    @property
    def ready(self) -> bool:
        """Whether a request may be drawn for a comparison."""
        return not self.held and len(self._tasks) < MOST_WAITING

    def add(self, pair: Pair) -> None:
        """Compare a pair, some time later."""
        task = asyncio.create_task(self._compare(pair))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Wait for the comparisons at work, so long at most; drop the others."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(LlamaDuoError):
            await self._client.close()

    async def _compare(self, pair: Pair) -> None:
        async with self._slots:
            if self.held:
                return
            found = await self._difference(pair)
            if found is None:
                return
            difference, note = found
            same = pair.local is not None and note == "same"
            texts = (pair.prompt, pair.service.text, pair.local.text if pair.local else "") if self._contents else None
            self._journal.compared(pair.key, difference, same, note, texts)
            self._on_difference(difference, same)

    async def _difference(self, pair: Pair) -> tuple[float, str] | None:
        """The difference and how it was found; None where the judge cannot be asked."""
        if pair.local is None:
            return WORST, pair.failed or "no answer"
        if normalise(pair.local.text) == normalise(pair.service.text):
            return 0.0, "same"
        if broken := self._checks.broken(pair.local):
            return WORST, f"breaks the contract: {broken.partition(':')[0]}"
        try:
            local = await self._score(pair.prompt, pair.local.text, SCORES.low)
            service = await self._score(pair.prompt, pair.service.text, SCORES.high)
        except LlamaDuoError as error:
            self.held = f"the judge cannot be asked: {error.message}"
            return None
        return round(local - service, 4), "judged"

    async def _score(self, prompt: str, answer: str, otherwise: float) -> float:
        """The mean precision that the judges give an answer. Raises LlamaDuoError where one cannot be asked."""
        content = self._prompts.judge_pair(instruction=prompt, response=answer)
        found = []
        for judge in self._judges:
            try:
                score: float = await self._client.ask(
                    [{"role": "user", "content": content}],
                    model=judge,
                    read=lambda completion: output_parsing.parse_precision(completion.text),
                    max_tokens=MAX_TOKENS,
                    temperature=0.0,
                    schema=output_parsing.PRECISION_SCHEMA,
                    correct=True,
                    direct=True,
                )
            except (RefusedError, output_parsing.ParsingError):
                score = otherwise
            found.append(score)
        return fmean(found)
