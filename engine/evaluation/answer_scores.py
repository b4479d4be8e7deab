"""From verdicts to the scores of each single answer; what has no verdict counts as the worst."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from engine.evaluation.prompt_scores import Judges, cells, mean
from engine.protocol.decision import WORST
from engine.protocol.rows import Verdict

AnswerKey = tuple[str, int]
"""A prompt's id, and the number of the sample."""


class AnswerScore(NamedTuple):
    """An answer's mean scores, 1 to 100; `missing` is the share of its verdicts that cannot be read."""

    precision: float
    similarity: float
    missing: float


UNJUDGED = AnswerScore(WORST, WORST, 1.0)
"""What an answer without any verdict counts as."""


def by_answer(verdicts: Iterable[Verdict]) -> dict[AnswerKey, AnswerScore]:
    """Each answer's scores: a judge's verdicts are averaged, then the judges; what cannot be read counts as the worst.

    Verdicts that only decided how many more to ask for do not count.
    """
    rows: dict[AnswerKey, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if not verdict.pilot:
            rows[verdict.id, verdict.sample].append(verdict)
    return {key: _score(cells(several)) for key, several in rows.items()}


def _score(judges: Judges) -> AnswerScore:
    missing = sum(cell.missing for cell in judges) / len(judges)
    return AnswerScore(*mean([cell.mean for cell in judges]), missing)
