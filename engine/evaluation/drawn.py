"""Which answers people review for the corrected scores: drawn at random, whatever they scored. Pure functions."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from engine.protocol.decision import DrawnAnswer

NUMBER = 30
"""Answers drawn in a round. It is fixed before the first review: who may stop when the scores look good biases them."""


class Progress(NamedTuple):
    """How far the drawn answers are reviewed; `skipped` of them have no review and come before one that has."""

    drawn: int
    reviewed: int
    skipped: int

    @property
    def left(self) -> int:
        return self.drawn - self.reviewed


def drawn(
    answers: Iterable[tuple[str, int]], families: Mapping[str, str], seed: int, round_: int, number: int = NUMBER
) -> tuple[DrawnAnswer, ...]:
    """At most `number` of a round's answers, given as prompt id and sample, in random order.

    Each family of prompts has the same chance and gives one answer: a random sample of a random prompt of it. So the
    drawn scores are independent, and their expected mean is that over families. `families` names a prompt's family,
    which else is its own. The draw depends on the names, the seed and the round alone.
    """
    samples: dict[str, set[int]] = defaultdict(set)
    for id_, sample in answers:
        samples[id_].add(sample)
    prompts: dict[str, list[str]] = defaultdict(list)
    for id_ in samples:
        prompts[families.get(id_, id_)].append(id_)

    def lot(*name: object) -> bytes:
        return hashlib.sha256(json.dumps([seed, round_, *name]).encode()).digest()

    ordered = sorted(prompts, key=lambda family: lot("family", family))[:number]
    chosen = [min(prompts[family], key=lambda id_: lot("prompt", id_)) for family in ordered]
    return tuple(
        DrawnAnswer(id=id_, sample=min(samples[id_], key=lambda sample: lot("sample", id_, sample))) for id_ in chosen
    )


def progress(reviewed: Sequence[bool]) -> Progress:
    """How far the drawn answers are reviewed, given for each of them in order."""
    last = max((place for place, done in enumerate(reviewed, start=1) if done), default=0)
    return Progress(len(reviewed), sum(reviewed), reviewed[:last].count(False))
