"""Texts as sets of hashed words and pairs of words, many texts at a time, to find duplicates and contamination."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.dataset.words import Hashes, hashed_words

REACH = 3
"""Words of a loose pair are at most this far apart."""

SHARED = 0.9
"""Share of the texts that must contain a shingle for it to count as boilerplate."""

MIN_TEXTS = 10
"""Fewer texts do not show what their task shares."""

_BUCKETS = 2**16
"""Hashes are counted by their lowest bits first: few share these with one that nearly all texts have."""

_MARGIN = 2**32
"""Separates texts; no word has this value."""


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from each start on, as many as its length says, one range after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)


class Rows(NamedTuple):
    """Sets of hashes, one per text: text `i` has `hashes[starts[i]:starts[i + 1]]`, unordered, with repetitions."""

    hashes: Hashes
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, sets: Sequence[Hashes]) -> Rows:
        """Rows of the given sets."""
        hashes = np.concatenate(sets) if sets else np.zeros(0, dtype=np.uint32)
        return cls(hashes, np.concatenate([[0], np.cumsum([len(row) for row in sets], dtype=np.int64)]))

    @classmethod
    def joined(cls, chunks: Sequence[Rows]) -> Rows:
        """The sets of all chunks, one chunk after the other."""
        sizes = np.concatenate([np.diff(chunk.starts) for chunk in chunks])
        return cls(np.concatenate([chunk.hashes for chunk in chunks]), np.concatenate([[0], np.cumsum(sizes)]))

    @property
    def numbers(self) -> NDArray[np.int64]:
        """For each hash the number of its text."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def row(self, number: int) -> Hashes:
        """The set of one text, sorted."""
        return np.unique(self.hashes[self.starts[number] : self.starts[number + 1]])

    def some(self, numbers: NDArray[np.int64]) -> Rows:
        """The sets of these texts."""
        lengths = np.diff(self.starts)[numbers]
        return Rows(self.hashes[ranges(self.starts[numbers], lengths)], np.concatenate([[0], np.cumsum(lengths)]))

    def distinct(self) -> Rows:
        """The same sets, each sorted and without repetitions."""
        keys = np.sort(self.numbers.astype(np.uint64) << np.uint64(32) | self.hashes)
        kept = np.ones(len(keys), dtype=bool)
        kept[1:] = keys[1:] != keys[:-1]
        keys = keys[kept]
        counts = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(self.starts) - 1)
        return Rows(keys.astype(np.uint32), np.concatenate([[0], np.cumsum(counts)]))

    def without(self, hashes: Hashes) -> Rows:
        """The same sets without these hashes."""
        if not hashes.size:
            return self
        kept = ~np.isin(self.hashes, hashes)
        return Rows(self.hashes[kept], np.concatenate([[0], np.cumsum(kept)])[self.starts])

    def boilerplate(self) -> Hashes:
        """The hashes that nearly all texts share, as `boilerplate` finds them."""
        return boilerplate([self.distinct()])


def boilerplate(chunks: Sequence[Rows]) -> Hashes:
    """The hashes that nearly all texts share, if they are most of each text; otherwise none.

    The texts are given as distinct sets, some at a time. Without this a long instruction would make all texts twins.
    None where there are few texts.
    """
    texts = sum(len(chunk.starts) - 1 for chunk in chunks)
    if texts < MIN_TEXTS:
        return np.zeros(0, dtype=np.uint32)
    # What more than this share of all texts has, more than this share of at least one chunk has.
    likely = np.unique(np.concatenate([_frequent(chunk) for chunk in chunks]))
    counts = np.zeros(len(likely), dtype=np.int64)
    for chunk in chunks if len(likely) else ():
        found = chunk.hashes[np.isin(chunk.hashes, likely)]
        counts += np.bincount(np.searchsorted(likely, found), minlength=len(likely))
    shared = counts > SHARED * texts
    return likely[shared] if counts[shared].sum() > sum(len(chunk.hashes) for chunk in chunks) / 2 else likely[:0]


def _frequent(chunk: Rows) -> Hashes:
    """The hashes that more than `SHARED` of a chunk's texts have."""
    least = SHARED * (len(chunk.starts) - 1)
    buckets = chunk.hashes % _BUCKETS
    likely = chunk.hashes[(np.bincount(buckets, minlength=_BUCKETS) > least)[buckets]]
    hashes, counts = np.unique(likely, return_counts=True)
    return hashes[counts > least]


class Words:
    """The words of some texts, hashed."""

    def __init__(self, texts: Sequence[str]) -> None:
        words, self.counts = hashed_words(texts)
        # A margin before each text and one at the end: a margin closes one text and opens the next.
        self._starts = np.concatenate([[0], np.cumsum(self.counts + 1)])
        self._flat = np.full(self._starts[-1] + 1, _MARGIN, dtype=np.uint64)
        inside = np.ones(len(self._flat), dtype=bool)
        inside[self._starts] = False
        self._inside = inside
        self._flat[inside] = words

    @cached_property
    def shingles(self) -> Rows:
        """Words and pairs of neighbours; the margin is a neighbour of a text's first and last word.

        Order matters, and one different word separates short texts: at a Jaccard similarity of 0.9, those below about
        28 words.
        """
        pairs = _mixed(self._flat[:-1] * np.uint64(0x9E3779B97F4A7C15) + self._flat[1:])
        single = np.where(self._inside[:-1], _mixed(self._flat[:-1]), pairs)
        return Rows(np.stack([single, pairs], axis=1).ravel(), 2 * self._starts)

    @cached_property
    def loose_pairs(self) -> Rows:
        """Pairs of words in either order, at most `REACH` apart: the skip-bigrams of Lin, "ROUGE" (2004).

        They survive swapped neighbours and inserted words; a replaced word removes only its own pairs.
        """
        shape = (len(self._flat), REACH)
        hashes, near = np.zeros(shape, dtype=np.uint32), np.zeros(shape, dtype=bool)
        text = np.cumsum(~self._inside)
        for distance in range(1, REACH + 1):
            one, other = self._flat[:-distance], self._flat[distance:]
            key = np.maximum(one, other) * np.uint64(0xC2B2AE3D27D4EB4F) + np.minimum(one, other)
            hashes[:-distance, distance - 1] = _mixed(key)
            # Words with the same number of margins before them belong to one text; a margin belongs to none.
            inside = self._inside[:-distance] & self._inside[distance:]
            near[:-distance, distance - 1] = inside & (text[:-distance] == text[distance:])
        before = np.concatenate([[0], np.cumsum(near.sum(axis=1))])
        return Rows(hashes[near], before[self._starts])


def _mixed(keys: NDArray[np.uint64]) -> Hashes:
    """32 well-mixed bits of each key: the finalizer of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (keys >> np.uint64(32)).astype(np.uint32)
