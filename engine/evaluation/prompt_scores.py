"""From verdicts to one number a prompt; what has no verdict counts as the worst."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from typing import NamedTuple

from engine.protocol.decision import WORST, PromptScore
from engine.protocol.rows import Verdict

Repeats = list[tuple[float, float]]
"""One judge's readable verdicts on one response: precision and similarity."""


class Cell(NamedTuple):
    """One judge's verdicts on one response, and how many more could not be read."""

    readable: Repeats
    unreadable: int

    @property
    def mean(self) -> tuple[float, float]:
        return mean([*self.readable, *[(WORST, WORST)] * self.unreadable])

    @property
    def missing(self) -> float:
        return self.unreadable / (len(self.readable) + self.unreadable)


Judges = list[Cell]
"""All judges' verdicts on one response."""


def by_prompt(verdicts: Iterable[Verdict], families: Mapping[str, str] | None = None) -> list[PromptScore]:
    """Each prompt's scores, in order of id; `families` names the family of a prompt, which else is its own.

    A judge's verdicts on a response are averaged, then a response's judges, then a prompt's responses, so that each
    counts alike however often it was asked; a prompt is one number, since more responses to it are no new evidence
    about other prompts. Each verdict that cannot be read counts as the worst: judges may fail on the worst responses,
    and a readable repeat beside it may be the lucky one. Verdicts that only decided how many more to ask for do not
    count.
    """
    prompts: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if not verdict.pilot:
            prompts[verdict.id].append(verdict)
    responses = {id_: _by_response(rows) for id_, rows in prompts.items() if len(rows) > 1}
    # Of a verdict's mean of both scores; one verdict alone says nothing of it.
    noise = pooled_variance(
        _middles(cell.readable) for several in responses.values() for judges in several for cell in judges
    )
    means = {id_: [_response_mean(judges) for judges in several] for id_, several in responses.items()}
    drawing = pooled_variance(means.values())
    named = families or {}
    return [
        _score(id_, named.get(id_) or id_, responses[id_], noise, _error_redrawn(means[id_], drawing))
        if id_ in responses
        else _score_of_one(prompts[id_][0], named.get(id_) or id_, noise)
        for id_ in sorted(prompts)
    ]


def _by_response(verdicts: Iterable[Verdict]) -> list[Judges]:
    """A prompt's responses with the verdicts on each."""
    samples: dict[int, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        samples[verdict.sample].append(verdict)
    return [cells(rows) for rows in samples.values()]


def cells(verdicts: Iterable[Verdict]) -> Judges:
    """The verdicts on one response, by judge; pilots are to be left out."""
    judges: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        judges[verdict.judge].append(verdict)
    found = []
    for rows in judges.values():
        readable = [(v.precision, v.similarity) for v in rows if v.precision is not None and v.similarity is not None]
        found.append(Cell(readable, len(rows) - len(readable)))
    return found


def mean(scores: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean of both."""
    if len(scores) == 1:
        return scores[0]  # as mostly, of a hundred thousand
    return sum(p for p, _ in scores) / len(scores), sum(s for _, s in scores) / len(scores)


def pooled_variance(samples: Iterable[Sequence[float]]) -> float:
    """The variance within samples, over all that have several values; 0 where none has."""
    squares, freedom = 0.0, 0
    for values in samples:
        if len(values) > 1:
            center = sum(values) / len(values)
            squares += sum((value - center) ** 2 for value in values)
            freedom += len(values) - 1
    return squares / max(1, freedom)


def _response_mean(judges: Judges) -> float:
    return sum(mean([cell.mean for cell in judges])) / 2


def _error_redrawn(means: Sequence[float], pooled: float) -> float:
    """The standard error of the mean over a prompt's responses; 0 for one response, whose spread is not known.

    Prompts differ in how much their responses do: their own variance counts where it is above the `pooled` one.
    """
    if len(means) < 2:
        return 0.0
    return sqrt(max(pooled, pooled_variance([means])) / len(means))


def _score(
    id_: str, family: str, responses: Sequence[Judges], judge_variance: float, error_redrawn: float
) -> PromptScore:
    precision, similarity = mean([mean([cell.mean for cell in judges]) for judges in responses])
    noise = 0.0
    if judge_variance:
        shares = (1 / len(cell.readable) / len(judges) ** 2 for judges in responses for cell in judges if cell.readable)
        noise = sqrt(judge_variance * sum(shares)) / len(responses)
    spread = max(_range([middle for cell in judges for middle in _middles(cell.readable)]) for judges in responses)
    missing = sum(sum(cell.missing for cell in judges) / len(judges) for judges in responses) / len(responses)
    return PromptScore(
        id=id_,
        precision=precision,
        similarity=similarity,
        error=noise,
        error_redrawn=max(noise, error_redrawn),
        spread=spread,
        family=family,
        missing=missing,
    )


def _score_of_one(verdict: Verdict, family: str, judge_variance: float) -> PromptScore:
    """What `_score` gives for a prompt with one verdict, as most of a hundred thousand have, in a third of the time."""
    precision, similarity, missing = verdict.precision, verdict.similarity, 0.0
    if precision is None or similarity is None:
        precision, similarity, missing = WORST, WORST, 1.0
    noise = 0.0 if missing else sqrt(judge_variance)
    return PromptScore(
        id=verdict.id,
        precision=precision,
        similarity=similarity,
        error=noise,
        error_redrawn=noise,
        spread=0.0,
        family=family,
        missing=missing,
    )


def _middles(repeats: Repeats) -> list[float]:
    return [(precision + similarity) / 2 for precision, similarity in repeats]


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values) if len(values) > 1 else 0.0
