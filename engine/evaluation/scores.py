"""From verdicts to scores: one number a prompt, and what a model got on a set of prompts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from engine.evaluation.intervals import intervals
from engine.evaluation.prompt_scores import by_prompt
from engine.protocol.decision import PromptScore, Scores, Shares
from engine.protocol.rows import Verdict

LEAST_PROMPTS = 10
"""Fewer prompts confirm nothing."""

MOST_UNREADABLE = 0.1
"""Share of verdicts that may be unreadable: those that could be read may be the easy ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitScores(Scores):
    """Scores with the prompts that they were made from, in order of id."""

    by_prompt: tuple[PromptScore, ...] = ()


def scores_doubt(scores: Scores) -> str:
    """Why these scores can't carry a decision; "" where they can."""
    if scores.prompts < LEAST_PROMPTS:
        return f"{scores.prompts} prompts are too few to tell (at least {LEAST_PROMPTS})"
    if scores.errors > MOST_UNREADABLE * scores.verdicts:
        return f"{scores.errors} of {scores.verdicts} verdicts could not be read"
    return ""


def plain(scores: Scores) -> dict[str, Any]:
    """The fields of `Scores` alone, for a record that extends it."""
    return {field.name: getattr(scores, field.name) for field in fields(Scores)}


def score(verdicts: Sequence[Verdict], risk: float, seed: int, without: Collection[str] = ()) -> SplitScores:
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
    return SplitScores(
        precision=precise,
        similarity=similar,
        coverage_50=_shares(precision, similarity, 50),
        coverage_70=_shares(precision, similarity, 70),
        prompts=len(prompts),
        verdicts=len(counted),
        errors=sum(verdict.precision is None for verdict in counted),
        by_prompt=tuple(prompts),
        unjudged=unjudged,
    )


def best(rounds: Sequence[Scores]) -> int:
    """The round with the highest mean of both scores; the earlier one of equals, it took less data."""
    return max(range(len(rounds)), key=lambda number: (rounds[number].mean, -number))


def _shares(precision: list[float], similarity: list[float], threshold: float) -> Shares:
    return Shares(
        precision=round(fmean(score >= threshold for score in precision), 4),
        similarity=round(fmean(score >= threshold for score in similarity), 4),
    )
