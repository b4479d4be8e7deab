"""Texts as hashed words, many texts at a time: tables and arrays do what a loop over words would take longest for.

A word is the CRC-32 of its UTF-8 bytes. Hashes are the same on every machine and in every version, since run folders
contain fingerprints made of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from engine.protocol.rows import normalise

Hashes = NDArray[np.uint32]

# Symbols count, since "C++" is not "C#"; punctuation doesn't.
_IN_WORD = re.compile(r"\w")
_BETWEEN = re.compile(r"""[\s.,;:!?"'`()]""")
# Thai, Lao, kana and Han are written without spaces: there a character is a word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

LETTER, ALONE, SPACE, UNKNOWN = range(4)
"""Kinds of characters: part of a word, a word of its own, between words, and not looked up yet."""

_KINDS = np.full(0x110000, UNKNOWN, dtype=np.uint8)

LONG = 32
"""Bytes of a word above which it is hashed alone: there are few."""


class HashedWords(NamedTuple):
    """The words of some texts, one text after the other, and the number of words in each text."""

    words: Hashes
    counts: NDArray[np.int64]


def hashed_words(texts: Sequence[str]) -> HashedWords:
    """The hashed words of each text, without case and punctuation; a text without words counts as one word."""
    ready = [text.lower() if text.isascii() else normalise(text) for text in texts]
    joined = "\n".join(ready)
    points = np.frombuffer(joined.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    content = np.frombuffer(joined.encode(errors="backslashreplace"), dtype=np.uint8)
    kinds = _kinds(points)
    first, end = _bounds(kinds)
    lengths = np.fromiter(map(len, ready), dtype=np.int64, count=len(ready))
    # Where each text ends, and the line break behind it.
    ends = np.cumsum(lengths + 1) - 1
    counts = np.diff(np.searchsorted(first, ends), prepend=0)
    if len(content) != len(points):
        offsets = np.concatenate([[0], np.cumsum(_widths(points))])
        first, end = offsets[first], offsets[end]
    words = _checksums(content, first, end - first)
    bare = np.flatnonzero(counts == 0)
    if bare.size:
        alone = [crc32("".join(ready[text].split()).encode(errors="backslashreplace")) for text in bare]
        words = np.insert(words, np.cumsum(counts)[bare], np.array(alone, dtype=np.uint32))
        counts[bare] = 1
    return HashedWords(words, counts)


def _kinds(points: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The kind of each character; those that are met for the first time are looked up."""
    kinds = _KINDS[points]
    if (kinds == UNKNOWN).any():
        for point in np.unique(points[kinds == UNKNOWN]).tolist():
            _KINDS[point] = _kind(chr(point))
        kinds = _KINDS[points]
    return kinds


def _kind(character: str) -> int:
    if _UNSPACED.match(character):
        return ALONE
    if _IN_WORD.match(character):
        return LETTER
    return SPACE if _BETWEEN.match(character) else ALONE


def _bounds(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The position of the first character of each word, and the position behind its last one."""
    letter, alone = kinds == LETTER, kinds == ALONE
    first, end = letter.copy(), letter.copy()
    first[1:] &= ~letter[:-1]
    end[:-1] &= ~letter[1:]
    return np.flatnonzero(first | alone), np.flatnonzero(end | alone) + 1


def _widths(points: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Bytes of each character in UTF-8; a lone surrogate is written as an escape of six."""
    widths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    widths[(points >= 0xD800) & (points < 0xE000)] = 6
    return widths


def _table() -> Hashes:
    """The CRC-32 of each byte, before and after the usual inversions, as Sarwate's algorithm (1988) uses it."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(0xEDB88320), values >> 1).astype(np.uint32)
    return values


_TABLE = _table()


def _checksums(content: NDArray[np.uint8], first: NDArray[np.int64], lengths: NDArray[np.int64]) -> Hashes:
    """The CRC-32 of each word: one step takes the next byte of all words that have one."""
    order = np.argsort(-np.minimum(lengths, LONG + 1).astype(np.int8), kind="stable")
    starts, sizes = first[order], lengths[order]
    sums = np.full(len(order), 0xFFFFFFFF, dtype=np.uint32)
    # How many words have another byte at each step; the longest come first.
    longer = np.searchsorted(-sizes, -np.arange(1, LONG + 1), side="right")
    for step, count in enumerate(longer.tolist()):
        before = sums[:count]
        sums[:count] = _TABLE[(before ^ content[starts[:count] + step]) & 0xFF] ^ (before >> 8)
    result = np.empty_like(sums)
    result[order] = ~sums
    for word in np.flatnonzero(lengths > LONG).tolist():
        result[word] = crc32(content[first[word] : first[word] + lengths[word]].tobytes())
    return result
