"""How sure the local model is of each of its answers, from the answers' rows alone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from statistics import fmean

from engine.evaluation.answer_scores import AnswerKey
from engine.protocol.decision import Confidence
from engine.protocol.rows import CONTRACT, Response, Verdict, normalise

DECIMALS = 4
"""Of an agreement."""

_WORDS = re.compile(r"\w+|[^\w\s]")


def confidences(responses: Sequence[Response], broken: Collection[AnswerKey]) -> dict[AnswerKey, Confidence]:
    """Each answer's confidence; `broken` names the answers that break the task's contract."""
    samples: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        samples[response.id].append(response)
    found = {}
    for several in samples.values():
        words = [_words(response.response) for response in several]
        for number, response in enumerate(several):
            key = response.id, response.sample
            found[key] = Confidence(
                mean_logprob=response.mean_logprob,
                least_logprob=response.least_logprob,
                agreement=_agreement(words[number], words[:number] + words[number + 1 :]),
                keeps_contract=key not in broken,
            )
    return found


def broken_answers(verdicts: Iterable[Verdict]) -> set[AnswerKey]:
    """The answers that broke the contract when they were judged."""
    return {(verdict.id, verdict.sample) for verdict in verdicts if verdict.judge == CONTRACT}


def agreement(text: str, others: Sequence[str]) -> float | None:
    """An answer's likeness to the other samples for its prompt, 0 to 1, the mean over them; None without others.

    The likeness of two texts is the Dice coefficient of their words and signs: 1 where they are the same, in any order,
    but for case and white space.
    """
    return _agreement(_words(text), [_words(other) for other in others])


def _agreement(words: Counter[str], others: Sequence[Counter[str]]) -> float | None:
    return round(fmean(_dice(words, other) for other in others), DECIMALS) if others else None


def _words(text: str) -> Counter[str]:
    return Counter(_WORDS.findall(normalise(text)))


def _dice(one: Counter[str], other: Counter[str]) -> float:
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0
