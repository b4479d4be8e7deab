"""Contamination: dev and test texts in the training data, found by fingerprints that don't reveal them.

A text is contaminated if it contains a large share of a held-out prompt, reworded or inside a longer text. GPT-3
refused any run of 8 to 13 words (Brown et al. 2020, appendix C), PaLM 70 % of a text's 8-grams (Chowdhery et al. 2022,
section 8), Llama 2 let spans differ in four tokens (Touvron et al. 2023, appendix A.6). One synonym in eight words
hides a text from n-grams, and a template's n-grams are in every text of the task. So what is counted here are loose
pairs of words, each weighted by how rare it is in this task (inverse document frequency: Sparck Jones 1972).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypedDict

import numpy as np
from scipy.sparse import csr_array  # type: ignore[import-untyped]

from engine.dataset.duplicates import comparable_text
from engine.dataset.shingles import Rows, Words
from engine.protocol.rows import Pair

MIN_PROMPT_WORDS = 8
"""A shorter prompt inside a longer text says little: "Where is my parcel?" is in half of all complaints."""

MIN_RESPONSE_WORDS = 50
"""A shorter response is not held out: labels and stock phrases are in every response."""

COMMON = 8
"""Held-out texts above which a pair of words counts as common, and is left out of the screening."""

_CHUNK = 1024

_SLOTS = 2**22
"""Size of the table that finds the column of a hash in one step."""


class Fingerprint(TypedDict):
    """A held-out text without its words: the pair's id, the number of words, and hashes of their pairs."""

    id: str
    words: int
    shingles: list[int]
    loose_pairs: list[int]


class ContaminationIndex:
    """Finds the held-out text that a text contains.

    `task` has the loose pairs of words of prompts that are not held out, some prompts at a time: a pair that is common
    there reveals little.
    """

    def __init__(self, held_out: Iterable[Fingerprint], task: Iterable[Rows]) -> None:
        rows = [row for row in held_out if row["words"] >= MIN_PROMPT_WORDS]
        self._ids = [row["id"] for row in rows]
        pairs = Rows.of([np.array(row["loose_pairs"], dtype=np.uint32) for row in rows])
        self._known = np.unique(pairs.hashes)
        # Of hashes that collide in a slot the last one stays; the share of the others says as much.
        self._column = np.zeros(_SLOTS, dtype=np.int32)
        self._column[self._known % _SLOTS] = np.arange(len(self._known))
        counts = self._counts(pairs)
        texts, frequency = len(rows), counts.sum(axis=0)
        for others in task:
            texts += len(others.starts) - 1
            frequency = frequency + _binary(self._counts(others)).sum(axis=0)
        # Squared, as in the cosine of two TF-IDF vectors.
        weights = counts * np.log((1 + texts) / np.maximum(frequency, 1)) ** 2
        shares = csr_array((weights / np.maximum(weights.sum(axis=1), 1e-9)[:, None]).T)
        self._shares = shares
        # The screening assumes that a text has all common pairs, which avoids most of the sums.
        self._rare = shares.copy()
        self._rare.data[np.repeat(np.diff(shares.indptr) > COMMON, np.diff(shares.indptr))] = 0
        self._rare.eliminate_zeros()
        self._assumed = 1 - self._rare.sum(axis=0)

    def leaks(self, rows: Rows, threshold: float) -> list[tuple[float, str]]:
        """For each text the share and the id of the held-out text that it contains most of.

        A share is a sum of weights over a sum of weights, from 0 to 1; (0, "") where it is below `threshold`.
        """
        leaks = [(0.0, "")] * (len(rows.starts) - 1)
        if not self._ids:
            return leaks
        counts = self._counts(rows)
        # Pairs that a text repeats count each time here, so the screening never misses a leak.
        suspects = np.flatnonzero(((counts @ self._rare).toarray() + self._assumed).max(axis=1) >= threshold)
        shares = _binary(counts[suspects]) @ self._shares
        for suspect, row in zip(suspects, shares.toarray(), strict=True):
            best = int(row.argmax())
            if row[best] >= threshold:
                leaks[suspect] = (float(row[best]), self._ids[best])
        return leaks

    def _counts(self, rows: Rows) -> csr_array:
        """How often each text has each held-out pair of words: texts by pairs, sparse."""
        if not len(self._known):
            return csr_array((len(rows.starts) - 1, 0))
        column = self._column[rows.hashes % _SLOTS]
        hit = self._known[column] == rows.hashes
        starts = np.concatenate([[0], np.cumsum(hit)])[rows.starts]
        shape = (len(rows.starts) - 1, len(self._known))
        return csr_array((np.ones(starts[-1]), column[hit], starts), shape=shape)


def _binary(counts: csr_array) -> csr_array:
    """The same with each pair counted once."""
    counts.sum_duplicates()
    counts.data[:] = 1.0
    return counts


def fingerprints(pairs: Sequence[Pair]) -> Iterator[Fingerprint]:
    """Fingerprints of each pair's prompt, of the last question in it if there are several turns, and of its response
    if that is long; the same on every machine.
    """
    yield from _fingerprints(pairs, lambda pair: comparable_text(pair.prompt), 0)
    yield from _fingerprints(pairs, _last_question, MIN_PROMPT_WORDS)
    yield from _fingerprints(pairs, lambda pair: pair.target, MIN_RESPONSE_WORDS)


def _fingerprints(pairs: Sequence[Pair], text: Callable[[Pair], str], least: int) -> Iterator[Fingerprint]:
    """Fingerprints of one text of each pair, if it has so many words; some pairs at a time, which bounds the memory."""
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        words = Words([text(pair) for pair in chunk])
        for number, pair in enumerate(chunk):
            if words.counts[number] >= least:
                yield Fingerprint(
                    id=pair.id,
                    words=int(words.counts[number]),
                    shingles=words.shingles.row(number).tolist(),
                    loose_pairs=words.loose_pairs.row(number).tolist(),
                )


def _last_question(pair: Pair) -> str:
    """The user's last turn, where that is not the whole prompt: new pairs have one turn, and could repeat it."""
    turns = [message for message in pair.prompt if message["role"] != "system"]
    questions = [turn["content"] for turn in turns if turn["role"] == "user"]
    return questions[-1] if questions and len(turns) > 1 else ""
