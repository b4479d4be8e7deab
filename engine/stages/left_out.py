"""Counts the questions of a stage without a usable answer: warns at the first, ends a stage that gets none."""

from __future__ import annotations

from engine.protocol.errors import StageError
from engine.protocol.events import Log
from engine.stages.base import ServiceJob

ENOUGH, LATER = 10, 40
"""So many questions in a row are enough to know that a stage gets no answer: from the first on, and later."""


class LeftOut:
    """Counts a stage's questions: `what` it asks for (verdicts, answers, pairs), and a `hint` for when it gets none."""

    def __init__(self, job: ServiceJob, what: str, hint: str) -> None:
        self._job, self._what, self._hint = job, what, hint
        self._answered = self._row = 0
        self.count = 0
        """How many were left out."""

    def answered(self) -> None:
        """Count a question with a usable answer."""
        self._answered += 1
        self._row = 0

    async def add(self, model: str, problem: str, *, refused: bool) -> None:
        """Count a question without one.

        Raises StageError where the first ENOUGH have none, or LATER in a row, once the calls in flight are done. What
        is `refused` later on is not in the row: filters may be strict for a while, or with a kind of prompt.
        """
        self.count += 1
        self._row += not (refused and self._answered)
        if self.count == 1:
            self._job.emit(Log(level="warning", message=f"{model}: first of the {self._what} left out: {problem}"))
        if self._row >= (LATER if self._answered else ENOUGH):
            which = "last" if self._answered else "first"
            failure = StageError(f"{model} gave none of the {which} {self._row} {self._what}: {problem}", self._hint)
            await self._job.client.fail(failure)
