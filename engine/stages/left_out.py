"""The questions of a stage that get no usable answer: told at the first, and the end of a stage that gets none."""

from __future__ import annotations

from engine.protocol.errors import StageError
from engine.protocol.events import Emit, Log

ENOUGH = 10
"""So many questions in a row, from the first on, are enough to know that a stage gets no answer."""


class LeftOut:
    """Counts a stage's questions: `what` it asks for (verdicts, answers, pairs), and a `hint` for when it gets none."""

    def __init__(self, emit: Emit, what: str, hint: str) -> None:
        self._emit, self._what, self._hint = emit, what, hint
        self._answered = 0
        self.count = 0
        """How many were left out."""

    def answered(self) -> None:
        """Count a question with a usable answer."""
        self._answered += 1

    def add(self, model: str, problem: str) -> None:
        """Count a question without one. Raises StageError where the first ENOUGH have none."""
        self.count += 1
        if self.count == 1:
            self._emit(Log(level="warning", message=f"{model}: first of the {self._what} left out: {problem}"))
        if self.count >= ENOUGH and not self._answered:
            raise StageError(f"{model} gave none of the first {self.count} {self._what}: {problem}", self._hint)
