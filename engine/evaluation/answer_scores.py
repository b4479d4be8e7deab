"""From verdicts to the scores of each single answer; what has no verdict counts as the worst."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from engine.evaluation.prompt_scores import mean
from engine.protocol.decision import WORST
from engine.protocol.rows import Verdict

AnswerKey = tuple[str, int]
"""A prompt's id, and the number of the sample."""


class AnswerScore(NamedTuple):
    """An answer's mean scores, 1 to 100; `missing` is the share of its judges without a readable verdict on it."""

    precision: float
    similarity: float
    missing: float


UNJUDGED = AnswerScore(WORST, WORST, 1.0)
"""What an answer without any verdict counts as."""


def by_answer(verdicts: Iterable[Verdict]) -> dict[AnswerKey, AnswerScore]:
    """Each answer's scores: a judge's readable verdicts are averaged, then the judges.

    A judge without a readable verdict on an answer counts as one with the worst: judges may fail on the worst answers.
    Verdicts that only decided how many more to ask for do not count.
    """
    judges: dict[AnswerKey, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        if verdict.pilot:
            continue
        readable = judges[verdict.id, verdict.sample][verdict.judge]
        if verdict.precision is not None and verdict.similarity is not None:
            readable.append((verdict.precision, verdict.similarity))
    return {key: _score(list(cells.values())) for key, cells in judges.items()}


def _score(judges: list[list[tuple[float, float]]]) -> AnswerScore:
    cells = [mean(readable) if readable else (WORST, WORST) for readable in judges]
    missing = sum(not readable for readable in judges) / len(judges)
    return AnswerScore(*mean(cells), missing)
