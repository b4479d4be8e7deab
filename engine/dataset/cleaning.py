"""What may enter the training data: pairs that are new, and far from every dev and test prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from engine.dataset.contamination import Fingerprint, Guard
from engine.dataset.duplicates import NearDuplicates, Sketch, comparable_text
from engine.dataset.shingles import Rows, Words
from engine.protocol.rows import Pair, SyntheticPair, message_text
from engine.settings.schema import Synthesis

AnyPair = Pair | SyntheticPair

MAX_CHARS = 32_000
"""Longer texts are no pairs of a task, but a service that lost its way."""

CHUNK = 1024
"""Pairs hashed at once: bounds the memory that takes."""

DAMAGE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
"""Control codes, halves of characters, and what stands for them."""

Refusal = dict[str, str]
"""`reason`, and the id of the `twin` where there is one: added to the pair's line in rejected.jsonl."""


class Cleaner:
    """Accepts pairs that are new, and refuses those that are known, too near to a known one, or malformed.

    `guarded` are the texts that must never be trained on, `known` the pairs that need not be taught twice. It takes a
    call's few pairs as they arrive, or any number at once.
    """

    def __init__(self, settings: Synthesis, guarded: Sequence[Fingerprint], known: Sequence[AnyPair]) -> None:
        self._settings = settings
        self._boilerplate = Words(_prompts(known[:CHUNK])).shingles.boilerplate()
        self._guarded = NearDuplicates(settings.duplicate_prompt)
        self._prompts = NearDuplicates(settings.duplicate_prompt)
        self._responses = NearDuplicates(settings.duplicate_response)
        self._guard = Guard(guarded, (Words(_prompts(chunk)).loose_pairs for chunk in _chunks(known)))
        shingles = Rows.of([np.array(row["shingles"], dtype=np.uint32) for row in guarded])
        for row, sketch in zip(guarded, self._guarded.sketches(shingles.without(self._boilerplate)), strict=True):
            self._guarded.add(row["id"], sketch)
        self._guarded_ids = {row["id"] for row in guarded}
        self._ids: set[str] = set()
        for chunk in _chunks(known):
            for offer in self._offers(chunk):
                self._remember(offer)

    def refusals(self, pairs: Sequence[AnyPair]) -> list[Refusal | None]:
        """Why each pair is refused; None for one that is accepted, and that later ones are compared with."""
        return [refusal for chunk in _chunks(pairs) for refusal in self._refusals(chunk)]

    def leaks(self, pairs: Sequence[AnyPair]) -> list[Refusal | None]:
        """For each pair, whether it repeats or holds a guarded text; it is not compared with anything else."""
        return [offer.leak for chunk in _chunks(pairs) for offer in self._offers(chunk)]

    def _refusals(self, pairs: Sequence[AnyPair]) -> Iterator[Refusal | None]:
        problems = [_problem(pair) for pair in pairs]
        offers = self._offers([pair for pair, problem in zip(pairs, problems, strict=True) if not problem])
        for problem in problems:
            if problem:
                yield {"reason": problem}
                continue
            offer = next(offers)
            refusal = offer.leak or self._repeats(offer)
            if refusal is None:
                self._remember(offer)
            yield refusal

    def _offers(self, pairs: Sequence[AnyPair]) -> Iterator[Offer]:
        prompts, responses = Words(_prompts(pairs)), Words(_responses(pairs))
        least = self._settings.contamination
        held = (self._guard.leaks(words.loose_pairs, least) for words in (prompts, responses))
        columns = zip(
            pairs,
            self._prompts.sketches(prompts.shingles.without(self._boilerplate)),
            self._responses.sketches(responses.shingles),
            responses.counts >= self._settings.duplicate_response_words,
            *held,
            strict=True,
        )
        for pair, prompt, response, long, in_prompt, in_response in columns:
            _, twin = max(in_prompt, in_response)
            yield Offer(pair.id, prompt, response if long else None, self._leak(pair.id, prompt, twin))

    def _leak(self, id: str, prompt: Sketch, held: str) -> Refusal | None:  # noqa: A002
        if id in self._guarded_ids:
            return {"reason": "same prompt", "twin": id}
        if twin := self._guarded.twin(prompt):
            return {"reason": "near-duplicate prompt", "twin": twin}
        return {"reason": "holds a dev or test prompt", "twin": held} if held else None

    def _repeats(self, offer: Offer) -> Refusal | None:
        if offer.id in self._ids:
            return {"reason": "same prompt", "twin": offer.id}
        if twin := self._prompts.twin(offer.prompt):
            return {"reason": "near-duplicate prompt", "twin": twin}
        if offer.response and (twin := self._responses.twin(offer.response)):
            return {"reason": "near-duplicate response", "twin": twin}
        return None

    def _remember(self, offer: Offer) -> None:
        self._ids.add(offer.id)
        self._prompts.add(offer.id, offer.prompt)
        if offer.response:
            self._responses.add(offer.id, offer.response)


class Offer(NamedTuple):
    """A pair to be judged: sketches of its prompt and of its response, where that is long; what it leaks, if so."""

    id: str
    prompt: Sketch
    response: Sketch | None
    leak: Refusal | None


def _problem(pair: AnyPair) -> str:
    texts = comparable_text(pair.messages[:-1]), message_text(pair.messages[-1])
    if max(map(len, texts)) > MAX_CHARS:
        return "too long"
    return "control characters" if any(map(DAMAGE.search, texts)) else ""


def _prompts(pairs: Iterable[AnyPair]) -> list[str]:
    return [comparable_text(pair.messages[:-1]) for pair in pairs]


def _responses(pairs: Iterable[AnyPair]) -> list[str]:
    return [message_text(pair.messages[-1]) for pair in pairs]


def _chunks(pairs: Sequence[AnyPair]) -> Iterator[Sequence[AnyPair]]:
    return (pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK))
