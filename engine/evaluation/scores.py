"""From verdicts to scores: one number a prompt, and what a model got on a set of prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from engine.evaluation.intervals import Interval, intervals
from engine.protocol.decision import PromptScore
from engine.protocol.rows import Verdict

LEAST_PROMPTS = 10
"""Fewer prompts confirm nothing."""

MOST_UNREADABLE = 0.1
"""Share of verdicts that may be unreadable: those that could be read may be the easy ones."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What one model got on one set of prompts; `coverage_*` are shares of prompts at or above 50 and 70.

    `prompts` have a readable verdict, `unjudged` more have none: the bounds hold whatever these would get. `by_prompt`
    is what the rest was made from, in order of id; a decision.json leaves it out.
    """

    precision: Interval
    similarity: Interval
    coverage_50: dict[str, float]
    coverage_70: dict[str, float]
    prompts: int
    verdicts: int
    errors: int
    by_prompt: tuple[PromptScore, ...] = ()
    unjudged: int = 0

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
        unjudged=row.get("unjudged", 0),
    )


Repeats = list[tuple[float, float]]
"""One judge's readable verdicts on one answer: precision and similarity."""


def by_prompt(verdicts: Sequence[Verdict]) -> list[PromptScore]:
    """Each prompt's means in order of id; prompts without a readable verdict are left out.

    Averaged are a judge's verdicts on an answer, then an answer's judges, then a prompt's answers, so that each counts
    alike however often it was asked; a prompt is one number, since more answers to it are no new evidence about others.
    """
    answers: dict[str, dict[int, dict[str, Repeats]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for verdict in verdicts:
        if verdict.precision is not None and verdict.similarity is not None:
            answers[verdict.id][verdict.sample][verdict.judge].append((verdict.precision, verdict.similarity))
    prompts = {id_: [list(judges.values()) for judges in found.values()] for id_, found in sorted(answers.items())}
    wavering = _wavering([repeats for found in prompts.values() for judges in found for repeats in judges])
    return [_mean_score(id_, found, wavering) for id_, found in prompts.items()]


def _wavering(cells: Sequence[Repeats]) -> float:
    """The variance of a verdict's mean of both scores, over all that were repeated; 0 where none was."""
    several = [np.mean(repeats, axis=1) for repeats in cells if len(repeats) > 1]
    freedom = sum(len(means) - 1 for means in several)
    return sum(float(means.var()) * len(means) for means in several) / max(1, freedom)


def _mean_score(id_: str, answers: list[list[Repeats]], wavering: float) -> PromptScore:
    means = [np.mean([np.mean(repeats, axis=0) for repeats in judges], axis=0) for judges in answers]
    precision, similarity = np.mean(means, axis=0)
    noise = sum(1 / len(repeats) / len(judges) ** 2 for judges in answers for repeats in judges) / len(answers) ** 2
    return PromptScore(id_, float(precision), float(similarity), sqrt(wavering * noise))


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
    unjudged = len({verdict.id for verdict in counted}) - len(prompts)
    precise, similar = intervals([precision, similarity], risk, seed, unknown=unjudged)
    return Scores(
        precise,
        similar,
        _coverage(precision, similarity, 50),
        _coverage(precision, similarity, 70),
        len(prompts),
        len(counted),
        sum(verdict.precision is None for verdict in counted),
        tuple(prompts),
        unjudged,
    )


def best(rounds: Sequence[Scores]) -> int:
    """The round with the highest mean of both scores; the earlier one of equals, it took less data."""
    return max(range(len(rounds)), key=lambda number: (rounds[number].mean, -number))


def _coverage(precision: list[float], similarity: list[float], bar: float) -> dict[str, float]:
    return {
        "precision": round(float(np.mean(np.asarray(precision) >= bar)), 4),
        "similarity": round(float(np.mean(np.asarray(similarity) >= bar)), 4),
    }
