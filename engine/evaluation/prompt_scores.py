"""From verdicts to one score a prompt: plain arithmetic, which the app shares with the engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import sqrt

from engine.protocol.decision import PromptScore
from engine.protocol.rows import Verdict

Repeats = list[tuple[float, float]]
"""One judge's readable verdicts on one response: precision and similarity."""


def by_prompt(verdicts: Iterable[Verdict]) -> list[PromptScore]:
    """Each prompt's means in order of id; prompts without a readable verdict are left out.

    A judge's verdicts on a response are averaged, then a response's judges, then a prompt's responses, so that each
    counts alike however often it was asked; a prompt is one number, since more responses to it are no new evidence
    about other prompts.
    """
    prompts: dict[str, dict[int, dict[str, Repeats]]] = defaultdict(dict)
    for verdict in verdicts:
        if verdict.precision is not None and verdict.similarity is not None:
            judges = prompts[verdict.id].setdefault(verdict.sample, {})
            judges.setdefault(verdict.judge, []).append((verdict.precision, verdict.similarity))
    responses = {id_: [list(judges.values()) for judges in samples.values()] for id_, samples in prompts.items()}
    noise = _judge_variance([repeats for judges in responses.values() for several in judges for repeats in several])
    return [_score(id_, responses[id_], noise) for id_ in sorted(responses)]


def mean(scores: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean of both."""
    if len(scores) == 1:
        return scores[0]  # as mostly, of a hundred thousand
    return sum(p for p, _ in scores) / len(scores), sum(s for _, s in scores) / len(scores)


def _judge_variance(cells: Sequence[Repeats]) -> float:
    """The variance of a verdict's mean of both scores, over all that were repeated; 0 where none was."""
    squares, freedom = 0.0, 0
    for repeats in cells:
        if len(repeats) > 1:
            middles = _middles(repeats)
            center = sum(middles) / len(middles)
            squares += sum((middle - center) ** 2 for middle in middles)
            freedom += len(middles) - 1
    return squares / max(1, freedom)


def _score(id_: str, responses: Sequence[list[Repeats]], judge_variance: float) -> PromptScore:
    precision, similarity = mean([mean([mean(repeats) for repeats in judges]) for judges in responses])
    noise = 0.0
    if judge_variance:
        shares = (1 / len(repeats) / len(judges) ** 2 for judges in responses for repeats in judges)
        noise = sqrt(judge_variance * sum(shares)) / len(responses)
    spread = max(_range([middle for repeats in judges for middle in _middles(repeats)]) for judges in responses)
    return PromptScore(id=id_, precision=precision, similarity=similarity, error=noise, spread=spread)


def _middles(repeats: Repeats) -> list[float]:
    return [(precision + similarity) / 2 for precision, similarity in repeats]


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values) if len(values) > 1 else 0.0
