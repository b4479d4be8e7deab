"""From verdicts to scores: what a model got on a set of prompts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

from engine.evaluation.intervals import interval, unit_means
from engine.evaluation.prompt_scores import by_prompt
from engine.protocol.decision import WORST, PromptScore, Scores, Shares
from engine.protocol.rows import Verdict

LEAST_UNITS = 10
"""Fewer families of prompts show nothing."""

MOST_UNREADABLE = 0.1
"""Share of verdicts that may be unreadable: with more, it is the judge that wants looking at."""


class SplitScores(Scores, frozen=True, kw_only=True):
    """Scores with the prompts that they were made from, in order of id."""

    by_prompt: tuple[PromptScore, ...] = ()


def scores_doubt(scores: Scores) -> str:
    """Why these scores can't carry a decision; "" where they can."""
    if scores.units < LEAST_UNITS:
        return f"{scores.evidence} are too few to tell (at least {LEAST_UNITS} independent ones)"
    if scores.errors > MOST_UNREADABLE * scores.verdicts:
        return f"{scores.errors} of {scores.verdicts} verdicts could not be read"
    return ""


def plain(scores: Scores) -> dict[str, Any]:
    """The fields of `Scores` alone, for a record that extends it."""
    return {name: getattr(scores, name) for name in Scores.__struct_fields__}


def score(
    verdicts: Sequence[Verdict],
    risk: float,
    families: Mapping[str, str] | None = None,
    without: Collection[str] = (),
) -> SplitScores:
    """The scores of one model on one set of prompts, except the prompts `without`; bounds at `risk`, each.

    `families` names each prompt's family; a prompt in it that no verdict is about counts as the worst. Raises
    ValueError where no verdict is readable.
    """
    counted = [verdict for verdict in verdicts if verdict.id not in without]
    prompts = by_prompt(counted, families)
    known = {prompt.id for prompt in prompts} | set(without)
    absent = [
        PromptScore(id=id_, precision=WORST, similarity=WORST, family=family, missing=1.0)
        for id_, family in (families or {}).items()
        if id_ not in known
    ]
    return of_prompts(
        sorted([*prompts, *absent], key=lambda prompt: prompt.id),
        risk,
        verdicts=len(counted),
        errors=sum(verdict.precision is None or verdict.similarity is None for verdict in counted),
    )


def of_prompts(prompts: Sequence[PromptScore], risk: float, *, verdicts: int, errors: int) -> SplitScores:
    """The scores of prompts, each family of them counted once. Raises ValueError where none has a readable verdict."""
    if all(prompt.missing == 1 for prompt in prompts):
        raise ValueError("no readable verdict")
    families = [prompt.unit for prompt in prompts]
    precision = unit_means([prompt.precision for prompt in prompts], families)
    similarity = unit_means([prompt.similarity for prompt in prompts], families)
    best_precision = unit_means([prompt.best_precision for prompt in prompts], families)
    best_similarity = unit_means([prompt.best_similarity for prompt in prompts], families)
    return SplitScores(
        precision=interval(precision, best_precision, risk),
        similarity=interval(similarity, best_similarity, risk),
        coverage_50=_shares(prompts, 50),
        coverage_70=_shares(prompts, 70),
        prompts=len(prompts),
        verdicts=verdicts,
        errors=errors,
        by_prompt=tuple(prompts),
        unjudged=sum(prompt.missing == 1 for prompt in prompts),
        families=len(precision),
    )


def best(rounds: Sequence[Scores]) -> int:
    """The round with the highest mean of both scores; the earlier one of equals, it took less data."""
    return max(range(len(rounds)), key=lambda number: (rounds[number].mean, -number))


def _shares(prompts: Sequence[PromptScore], threshold: float) -> Shares:
    return Shares(
        precision=round(fmean(prompt.precision >= threshold for prompt in prompts), 4),
        similarity=round(fmean(prompt.similarity >= threshold for prompt in prompts), 4),
    )
