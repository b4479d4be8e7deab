"""From verdicts to scores: one number a prompt, and what a model got on a set of prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.intervals import Interval, interval
from engine.rows import Verdict

LEAST_PROMPTS = 10
"""Fewer prompts confirm nothing."""

MOST_UNREADABLE = 0.1
"""Share of verdicts that may be unreadable: those that could be read may be the easy ones."""


@dataclass(frozen=True, slots=True)
class PromptScore:
    """One prompt's mean scores, 1 to 100."""

    id: str
    precision: float
    similarity: float

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


@dataclass(frozen=True, slots=True)
class Scores:
    """What one model got on one set of prompts; `coverage_*` are shares of prompts at or above 50 and 70.

    `by_prompt` is what the rest was made from, in order of id; a decision.json leaves it out.
    """

    precision: Interval
    similarity: Interval
    coverage_50: dict[str, float]
    coverage_70: dict[str, float]
    prompts: int
    verdicts: int
    errors: int
    by_prompt: tuple[PromptScore, ...] = ()

    @property
    def doubt(self) -> str:
        """Why these scores can't carry a decision; "" where they can."""
        if self.prompts < LEAST_PROMPTS:
            return f"{self.prompts} prompts are too few to tell (at least {LEAST_PROMPTS})"
        if self.errors > MOST_UNREADABLE * self.verdicts:
            return f"{self.errors} of {self.verdicts} verdicts could not be read"
        return ""

    @property
    def mean(self) -> float:
        return (self.precision.mean + self.similarity.mean) / 2

    def to_row(self) -> dict[str, Any]:
        row = asdict(self)
        del row["by_prompt"]
        return row


def scores_from_row(row: dict[str, Any]) -> Scores:
    """The scores in a decision.json."""
    return Scores(
        Interval(**row["precision"]),
        Interval(**row["similarity"]),
        row["coverage_50"],
        row["coverage_70"],
        row["prompts"],
        row["verdicts"],
        row["errors"],
    )


def by_prompt(verdicts: Sequence[Verdict]) -> list[PromptScore]:
    """Each prompt's means in order of id; prompts without a readable verdict are left out.

    An answer's readable verdicts are averaged first, so that each answer counts alike, however often it was judged; a
    prompt is one number, since more answers to it are no new evidence about other prompts.
    """
    answers: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        if verdict.precision is not None and verdict.similarity is not None:
            answers[verdict.id][verdict.sample].append((verdict.precision, verdict.similarity))
    return [_mean_score(id_, list(found.values())) for id_, found in sorted(answers.items())]


def _mean_score(id_: str, answers: list[list[tuple[float, float]]]) -> PromptScore:
    precision, similarity = np.mean([np.mean(answer, axis=0) for answer in answers], axis=0)
    return PromptScore(id_, float(precision), float(similarity))


def score(verdicts: Sequence[Verdict], risk: float, seed: int, without: Collection[str] = ()) -> Scores:
    """The scores of one model on one set of prompts, except the prompts `without`; bounds at `risk`, each.

    Raises ValueError where no verdict is readable.
    """
    counted = [verdict for verdict in verdicts if verdict.id not in without]
    prompts = by_prompt(counted)
    if not prompts:
        raise ValueError("no readable verdict")
    precision = [prompt.precision for prompt in prompts]
    similarity = [prompt.similarity for prompt in prompts]
    return Scores(
        interval(precision, risk, seed),
        interval(similarity, risk, seed),
        _coverage(precision, similarity, 50),
        _coverage(precision, similarity, 70),
        len(prompts),
        len(counted),
        sum(verdict.precision is None for verdict in counted),
        tuple(prompts),
    )


def best(rounds: Sequence[Scores]) -> int:
    """The round with the highest mean of both scores; the earlier one of equals, it took less data."""
    return max(range(len(rounds)), key=lambda number: (rounds[number].mean, -number))


def _coverage(precision: list[float], similarity: list[float], bar: float) -> dict[str, float]:
    return {
        "precision": round(float(np.mean(np.asarray(precision) >= bar)), 4),
        "similarity": round(float(np.mean(np.asarray(similarity) >= bar)), 4),
    }
