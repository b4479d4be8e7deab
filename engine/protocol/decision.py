"""What a run decides after each round, and the scores that this rests on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptScore:
    """One prompt's mean scores, 1 to 100, and the standard error of their mean that is the judge's wavering."""

    id: str
    precision: float
    similarity: float
    error: float = 0.0

    @property
    def mean(self) -> float:
        return (self.precision + self.similarity) / 2


@dataclass(frozen=True, slots=True)
class GroupScore:
    """One kind of prompt's mean scores, 1 to 100, over `prompts` prompts."""

    name: str
    prompts: int
    precision: float
    similarity: float
