"""TF-IDF vectors of prompts, with the words of the train prompts as the whole vocabulary.

A word that no train prompt has is unknown here, so names made of these words cannot reveal a dev prompt. Weights are
(1 + log tf) log((1 + n) / df), vectors of unit length: Manning, Raghavan & Schütze, "Introduction to Information
Retrieval" (2008), sections 6.2 to 6.4.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

from engine.protocol.rows import normalise

Vector = NDArray[np.float64]

# Thai, Lao, kana and Han are written without spaces: there two neighbours are a word.
_WORD = re.compile("(?=([\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]{2}))|([^\\W\\d_]{2,40})")


class TfIdf:
    """The vocabulary of some texts; `matrix` (scipy's CSR) has their vectors, a row each."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(_words(text)) for text in texts]
        shared = Counter(word for count in counts for word in count)
        self.words = sorted(shared)
        self._columns = {word: column for column, word in enumerate(self.words)}
        self._idf = np.log((1 + len(texts)) / np.array([shared[word] for word in self.words], dtype=np.float64))
        self.matrix = self._weighted(counts)

    def vectors(self, texts: Iterable[str]) -> Any:
        """A row of unit length for each text, all zero where it shares no word."""
        return self._weighted([Counter(_words(text)) for text in texts])

    def top(self, vector: Vector, count: int) -> list[str]:
        """The words with the largest weights in a vector over the vocabulary, the largest first; none below zero."""
        order = np.argsort(-vector, kind="stable")[:count]
        return [self.words[column] for column in order if vector[column] > 0]

    def _weighted(self, counts: Sequence[Counter[str]]) -> Any:
        known = [[(self._columns[word], n) for word, n in count.items() if word in self._columns] for count in counts]
        columns = np.array([column for row in known for column, _ in row], dtype=np.int64)
        values = 1 + np.log(np.array([n for row in known for _, n in row], dtype=np.float64))
        starts = np.cumsum([0, *map(len, known)])
        matrix = csr_matrix((values * self._idf[columns], columns, starts), shape=(len(counts), len(self.words)))
        lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        matrix.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(starts))
        return matrix


def _words(text: str) -> list[str]:
    return [unspaced or word for unspaced, word in _WORD.findall(normalise(text))]
