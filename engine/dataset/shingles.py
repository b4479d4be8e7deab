"""Texts as sets of hashed words and pairs of words, many texts at a time, to find duplicates and contamination.

A word is its CRC-32, and the rest is arithmetic on arrays of these, so that Python only splits texts into words. Hashes
are the same on every machine and in every version, since run folders contain fingerprints made of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from engine.protocol.rows import normalise

Hashes = NDArray[np.uint32]

REACH = 3
"""Words of a loose pair are at most this far apart."""

SHARED = 0.9
"""Share of the texts that must contain a shingle for it to count as boilerplate."""

MIN_TEXTS = 10
"""Fewer texts do not show what their task shares."""

# Thai, Lao, kana and Han are written without spaces: there a character is a word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
# Symbols count, since "C++" is not "C#"; punctuation doesn't.
_WORD = re.compile(r"""\w+|[^\w\s.,;:!?"'`()]""")
_MARGIN = 2**32
"""Separates texts; no word has this value."""


class Rows(NamedTuple):
    """Sets of hashes, one per text: text `i` has `hashes[starts[i]:starts[i + 1]]`, unordered, with repetitions."""

    hashes: Hashes
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, sets: Sequence[Hashes]) -> Rows:
        """Rows of the given sets."""
        hashes = np.concatenate(sets) if sets else np.zeros(0, dtype=np.uint32)
        return cls(hashes, np.concatenate([[0], np.cumsum([len(row) for row in sets], dtype=np.int64)]))

    @property
    def numbers(self) -> NDArray[np.int64]:
        """For each hash the number of its text."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def row(self, number: int) -> Hashes:
        """The set of one text, sorted."""
        return np.unique(self.hashes[self.starts[number] : self.starts[number + 1]])

    def without(self, hashes: Hashes) -> Rows:
        """The same sets without these hashes."""
        if not hashes.size:
            return self
        kept = ~np.isin(self.hashes, hashes)
        return Rows(self.hashes[kept], np.concatenate([[0], np.cumsum(kept)])[self.starts])

    def boilerplate(self) -> Hashes:
        """The hashes that nearly all texts share, if they are most of each text; otherwise none.

        Without this a long instruction would make all texts twins. None where there are few texts.
        """
        texts = len(self.starts) - 1
        if texts < MIN_TEXTS:
            return np.zeros(0, dtype=np.uint32)
        once = np.unique(self.numbers.astype(np.uint64) << np.uint64(32) | self.hashes)
        hashes, counts = np.unique(once.astype(np.uint32), return_counts=True)
        shared = counts > SHARED * texts
        return hashes[shared] if counts[shared].sum() > len(once) / 2 else hashes[:0]


class Words:
    """The words of some texts, hashed."""

    def __init__(self, texts: Sequence[str]) -> None:
        words = [_words(text) for text in texts]
        self.counts = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
        # A margin before each text and one at the end: a margin closes one text and opens the next.
        self._starts = np.concatenate([[0], np.cumsum(self.counts + 1)])
        self._flat = np.full(self._starts[-1] + 1, _MARGIN, dtype=np.uint64)
        inside = np.ones(len(self._flat), dtype=bool)
        inside[self._starts] = False
        self._inside = inside
        self._flat[inside] = np.fromiter((w for row in words for w in row), dtype=np.uint64, count=self.counts.sum())

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


def _words(text: str) -> list[int]:
    """The hashed words of a text; a text without words counts as one word."""
    text = normalise(text)
    spaced = text if text.isascii() else _UNSPACED.sub(r" \g<0> ", text)
    words = _WORD.findall(spaced) or [text.replace(" ", "")]
    return list(map(crc32, " ".join(words).encode(errors="backslashreplace").split(b" ")))


def _mixed(keys: NDArray[np.uint64]) -> Hashes:
    """32 well-mixed bits of each key: the finalizer of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (keys >> np.uint64(32)).astype(np.uint32)
