"""The filter of new pairs: it accepts those that are new, well-formed, and far from every dev and test prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from engine.dataset.contamination import ContaminationIndex, Fingerprint
from engine.dataset.duplicates import NearDuplicates, Sketch, comparable_text
from engine.dataset.shingles import Rows, Words
from engine.protocol.rows import Pair, SyntheticPair, message_text
from engine.settings.schema import Synthesis

AnyPair = Pair | SyntheticPair

MAX_CHARS = 32_000
"""Longer texts are runaway generations."""

CHUNK = 1024
"""Pairs hashed at once: bounds the memory that this takes."""

DAMAGE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
"""Control codes, lone surrogates, and the replacement character."""

Refusal = dict[str, str]
"""`reason`, and the id of the `twin` where there is one: added to the pair's line in rejected.jsonl."""


class DataFilter:
    """Accepts pairs that are new; refuses those that are known, near-duplicates of a known one, or malformed.

    `held_out` are the texts that must never be trained on, `known` the pairs that need not be taught twice. It takes a
    call's few pairs as they arrive, or any number at once.
    """

    def __init__(self, settings: Synthesis, held_out: Sequence[Fingerprint], known: Sequence[AnyPair]) -> None:
        self._settings = settings
        self._boilerplate = Words(_prompts(known[:CHUNK])).shingles.boilerplate()
        self._held_out = NearDuplicates(settings.duplicate_prompt)
        self._prompts = NearDuplicates(settings.duplicate_prompt)
        self._responses = NearDuplicates(settings.duplicate_response)
        self._index = ContaminationIndex(held_out, (Words(_prompts(chunk)).loose_pairs for chunk in _chunks(known)))
        shingles = Rows.of([np.array(row["shingles"], dtype=np.uint32) for row in held_out])
        for row, sketch in zip(held_out, self._held_out.sketches(shingles.without(self._boilerplate)), strict=True):
            self._held_out.add(row["id"], sketch)
        self._held_out_ids = {row["id"] for row in held_out}
        self._ids: set[str] = set()
        for chunk in _chunks(known):
            for candidate in self._candidates(chunk):
                self._remember(candidate)

    def refusals(self, pairs: Sequence[AnyPair]) -> list[Refusal | None]:
        """Why each pair is refused; None for one that is accepted, and that later ones are compared with."""
        return [refusal for chunk in _chunks(pairs) for refusal in self._refusals(chunk)]

    def leaks(self, pairs: Sequence[AnyPair]) -> list[Refusal | None]:
        """For each pair the refusal where it repeats or contains a held-out text; known pairs are not considered."""
        return [candidate.leak for chunk in _chunks(pairs) for candidate in self._candidates(chunk)]

    def _refusals(self, pairs: Sequence[AnyPair]) -> Iterator[Refusal | None]:
        problems = [_problem(pair) for pair in pairs]
        candidates = self._candidates([pair for pair, problem in zip(pairs, problems, strict=True) if not problem])
        for problem in problems:
            if problem:
                yield {"reason": problem}
                continue
            candidate = next(candidates)
            refusal = candidate.leak or self._repeats(candidate)
            if refusal is None:
                self._remember(candidate)
            yield refusal

    def _candidates(self, pairs: Sequence[AnyPair]) -> Iterator[Candidate]:
        prompts, responses = Words(_prompts(pairs)), Words(_responses(pairs))
        threshold = self._settings.contamination
        contained = (self._index.leaks(words.loose_pairs, threshold) for words in (prompts, responses))
        columns = zip(
            pairs,
            self._prompts.sketches(prompts.shingles.without(self._boilerplate)),
            self._responses.sketches(responses.shingles),
            responses.counts >= self._settings.duplicate_response_words,
            *contained,
            strict=True,
        )
        for pair, prompt, response, long, in_prompt, in_response in columns:
            _, twin = max(in_prompt, in_response)
            yield Candidate(pair.id, prompt, response if long else None, self._leak(pair.id, prompt, twin))

    def _leak(self, id: str, prompt: Sketch, contained: str) -> Refusal | None:  # noqa: A002
        if id in self._held_out_ids:
            return {"reason": "same prompt", "twin": id}
        if twin := self._held_out.twin(prompt):
            return {"reason": "near-duplicate prompt", "twin": twin}
        return {"reason": "contains a dev or test prompt", "twin": contained} if contained else None

    def _repeats(self, candidate: Candidate) -> Refusal | None:
        if candidate.id in self._ids:
            return {"reason": "same prompt", "twin": candidate.id}
        if twin := self._prompts.twin(candidate.prompt):
            return {"reason": "near-duplicate prompt", "twin": twin}
        if candidate.response and (twin := self._responses.twin(candidate.response)):
            return {"reason": "near-duplicate response", "twin": twin}
        return None

    def _remember(self, candidate: Candidate) -> None:
        self._ids.add(candidate.id)
        self._prompts.add(candidate.id, candidate.prompt)
        if candidate.response:
            self._responses.add(candidate.id, candidate.response)


class Candidate(NamedTuple):
    """A pair to accept or refuse: sketches of its prompt and, if long, of its response; the refusal if it leaks."""

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
