"""From verdicts to one number a prompt; what has no verdict counts as the worst."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

from engine.protocol.decision import WORST, PromptScore
from engine.protocol.rows import Verdict

Repeats = list[tuple[float, float]]
"""One judge's readable verdicts on one response: precision and similarity; empty where none is."""

Judges = list[Repeats]
"""All judges' verdicts on one response."""


def by_prompt(verdicts: Iterable[Verdict], families: Mapping[str, str] | None = None) -> list[PromptScore]:
    """Each prompt's scores, in order of id; `families` names the family of a prompt, which else is its own.

    A judge's verdicts on a response are averaged, then a response's judges, then a prompt's responses, so that each
    counts alike however often it was asked; a prompt is one number, since more responses to it are no new evidence
    about other prompts. A judge without a readable verdict on a response counts there as one with the worst: judges may
    fail on the worst responses. Verdicts that only decided how many more to ask for do not count.
    """
    prompts: dict[str, dict[int, dict[str, Repeats]]] = defaultdict(lambda: defaultdict(dict))
    for verdict in verdicts:
        if verdict.pilot:
            continue
        repeats = prompts[verdict.id][verdict.sample].setdefault(verdict.judge, [])
        if verdict.precision is not None and verdict.similarity is not None:
            repeats.append((verdict.precision, verdict.similarity))
    responses = {id_: [list(judges.values()) for judges in samples.values()] for id_, samples in prompts.items()}
    noise = _judge_variance([repeats for judges in responses.values() for several in judges for repeats in several])
    named = families or {}
    return [_score(id_, named.get(id_) or id_, responses[id_], noise) for id_ in sorted(responses)]


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


def _score(id_: str, family: str, responses: Sequence[Judges], judge_variance: float) -> PromptScore:
    precision, similarity = mean([mean([_cell(repeats) for repeats in judges]) for judges in responses])
    noise = 0.0
    if judge_variance:
        shares = (1 / len(repeats) / len(judges) ** 2 for judges in responses for repeats in judges if repeats)
        noise = sqrt(judge_variance * sum(shares)) / len(responses)
    spread = max(_range([middle for repeats in judges for middle in _middles(repeats)]) for judges in responses)
    missing = sum(sum(not repeats for repeats in judges) / len(judges) for judges in responses) / len(responses)
    return PromptScore(
        id=id_,
        precision=precision,
        similarity=similarity,
        error=noise,
        spread=spread,
        family=family,
        missing=missing,
    )


def _cell(repeats: Repeats) -> tuple[float, float]:
    return mean(repeats) if repeats else (WORST, WORST)


def _middles(repeats: Repeats) -> list[float]:
    return [(precision + similarity) / 2 for precision, similarity in repeats]


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values) if len(values) > 1 else 0.0
