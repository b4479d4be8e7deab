"""Keeps dev and test prompts out of the training data, by fingerprints that don't tell them.

A text is refused that holds a guarded prompt to a large share, be it reworded or inside a longer one. GPT-3 refused any
run of 8 to 13 words (Brown et al. 2020, appendix C), PaLM 70 % of a text's 8-grams (Chowdhery et al. 2022, section 8),
Llama 2 let spans differ in four tokens (Touvron et al. 2023, appendix A.6). One synonym in eight words hides a text
from n-grams, and a template's n-grams are in every text of the task. So the parts counted here are loose pairs of
words, and each counts by how rare it is in this task (inverse document frequency: Sparck Jones 1972).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
from scipy.sparse import csr_array  # type: ignore[import-untyped]

from engine.dataset.duplicates import comparable_text
from engine.dataset.shingles import Rows, Words
from engine.protocol.rows import Pair

LEAST_WORDS = 8
"""A shorter prompt inside a longer text says little: "Where is my parcel?" is in half of all complaints."""

LONG_RESPONSE = 50
"""Words from which a response is guarded like a prompt; labels and stock phrases are everybody's."""

MANY = 8
"""Guarded texts that a pair of words must be in to be left out of the first look."""

_SLOTS = 2**22
"""Of a table that says in one step where a hash is, if it is known."""


class Fingerprint(TypedDict):
    """What guards a text without telling it: the pair's id, the text's number of words, and hashes of their pairs."""

    id: str
    words: int
    shingles: list[int]
    loose_pairs: list[int]


class Guard:
    """Asked of each text whether it holds a guarded one.

    `task` has the loose pairs of prompts that are not guarded, some at a time: what is common there betrays little.
    """

    def __init__(self, guarded: Iterable[Fingerprint], task: Iterable[Rows]) -> None:
        rows = [row for row in guarded if row["words"] >= LEAST_WORDS]
        self._ids = [row["id"] for row in rows]
        pairs = Rows.of([np.array(row["loose_pairs"], dtype=np.uint32) for row in rows])
        self._known = np.unique(pairs.hashes)
        # Of hashes that meet in a slot the last one stays; a share is as well taken of the others.
        self._column = np.zeros(_SLOTS, dtype=np.int32)
        self._column[self._known % _SLOTS] = np.arange(len(self._known))
        held = self._held(pairs)
        texts, frequency = len(rows), held.sum(axis=0)
        for others in task:
            texts += len(others.starts) - 1
            frequency = frequency + _once(self._held(others)).sum(axis=0)
        # Squared, as in the cosine of two TF-IDF vectors.
        weights = held * np.log((1 + texts) / np.maximum(frequency, 1)) ** 2
        parts = csr_array((weights / np.maximum(weights.sum(axis=1), 1e-9)[:, None]).T)
        self._parts = parts
        # A first look takes the pairs of many guarded texts for granted, which spares it most of the sums.
        self._rare = parts.copy()
        self._rare.data[np.repeat(np.diff(parts.indptr) > MANY, np.diff(parts.indptr))] = 0
        self._rare.eliminate_zeros()
        self._granted = 1 - self._rare.sum(axis=0)

    def leaks(self, rows: Rows, threshold: float) -> list[tuple[float, str]]:
        """For each text the guarded one that it holds most of, with the share: (0, "") where that is below `threshold`.

        A share is a sum of weights over a sum of weights, from 0 to 1.
        """
        found = [(0.0, "")] * (len(rows.starts) - 1)
        if not self._ids:
            return found
        held = self._held(rows)
        # Pairs that a text repeats count each time here: that is never too little.
        suspects = np.flatnonzero(((held @ self._rare).toarray() + self._granted).max(axis=1) >= threshold)
        shares = _once(held[suspects]) @ self._parts
        for suspect, row in zip(suspects, shares.toarray(), strict=True):
            best = int(row.argmax())
            if row[best] >= threshold:
                found[suspect] = (float(row[best]), self._ids[best])
        return found

    def _held(self, rows: Rows) -> csr_array:
        """Which of the guarded pairs each text has, as often as it has them: texts by pairs, sparse."""
        if not len(self._known):
            return csr_array((len(rows.starts) - 1, 0))
        column = self._column[rows.hashes % _SLOTS]
        sure = self._known[column] == rows.hashes
        starts = np.concatenate([[0], np.cumsum(sure)])[rows.starts]
        shape = (len(rows.starts) - 1, len(self._known))
        return csr_array((np.ones(starts[-1]), column[sure], starts), shape=shape)


def _once(held: csr_array) -> csr_array:
    """The same with each pair counted once."""
    held.sum_duplicates()
    held.data[:] = 1.0
    return held


def fingerprints(pairs: Sequence[Pair]) -> list[Fingerprint]:
    """Rows for each pair's prompt, for the last question in it if there are several turns, and for its response if
    that is long; the same on every machine.
    """
    prompts = Words([comparable_text(pair.prompt) for pair in pairs])
    questions = Words([_last_question(pair) for pair in pairs])
    responses = Words([pair.target for pair in pairs])
    return [
        Fingerprint(
            id=pair.id,
            words=int(words.counts[number]),
            shingles=words.shingles.row(number).tolist(),
            loose_pairs=words.loose_pairs.row(number).tolist(),
        )
        for words, least in ((prompts, 0), (questions, LEAST_WORDS), (responses, LONG_RESPONSE))
        for number, pair in enumerate(pairs)
        if words.counts[number] >= least
    ]


def _last_question(pair: Pair) -> str:
    """What the user said last, where that is not the whole prompt: new pairs have one turn, and could repeat it."""
    turns = [message for message in pair.prompt if message["role"] != "system"]
    said = [turn["content"] for turn in turns if turn["role"] == "user"]
    return said[-1] if len(turns) > 1 else ""
