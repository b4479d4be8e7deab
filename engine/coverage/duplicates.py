"""Near-duplicate prompts by MinHash: none enters the synthetic data twice, or leaks from dev and test into it.

The share of equal minima in two signatures estimates the Jaccard similarity of two sets: Broder, "On the resemblance
and containment of documents" (1997). The sets here are words *and* pairs of neighbouring words, so that order counts
and one other word parts short texts: at 0.9, one word in fewer than about 28 makes another prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypedDict
from zlib import crc32

import numpy as np
from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]
from numpy.typing import NDArray

from engine.rows import Message, Pair, normalise, prompt_text

PERMUTATIONS = 128
THRESHOLD = 0.9
CHUNK = 1024
"""Shingles hashed at once: bounds the memory that a huge text takes."""

# Thai, Lao, kana and Han are written without spaces: there a character is a word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
# Symbols count, since "C++" is not "C#"; the marks of a sentence don't.
_WORD = re.compile(r"""\w+|[^\w\s.,;:!?"'`()]""")
_COEFFICIENTS = MinHash(num_perm=PERMUTATIONS, seed=1).permutations


class Fingerprint(TypedDict):
    """What guards a prompt without telling it: its id and its 128 minima."""

    id: str
    minhash: list[int]


class NearDuplicates:
    """The prompts so far, asked whether a new one nearly repeats one of them.

    `threshold` is the Jaccard similarity, from 0 to 1, at and above which two texts are twins.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        # One band more than minima may differ: by the pigeonhole principle the index misses no twin.
        bands = max(2, int(PERMUTATIONS * (1 - threshold)) + 1)
        self._index: Any = MinHashLSH(num_perm=PERMUTATIONS, params=(bands, PERMUTATIONS // bands))
        self._ids: list[str] = []
        self._minima: list[NDArray[np.uint64]] = []

    def add(self, id: str, text: str) -> None:  # noqa: A002
        """Remember a prompt."""
        self._insert(id, _minhash(text))

    def add_fingerprint(self, row: Fingerprint) -> None:
        """Remember a prompt of which only the fingerprint is known."""
        self._insert(row["id"], MinHash(hashvalues=row["minhash"], permutations=_COEFFICIENTS))

    def twin(self, text: str) -> str | None:
        """The id of the prompt most like `text`, if their estimated similarity reaches the threshold."""
        minhash = _minhash(text)
        candidates = sorted(self._index.query(minhash))
        if not candidates:
            return None
        minima = np.stack([self._minima[number] for number in candidates])
        similarity = (minima == minhash.hashvalues).mean(axis=1)
        best = int(similarity.argmax())
        return self._ids[candidates[best]] if similarity[best] >= self._threshold else None

    def _insert(self, id: str, minhash: Any) -> None:  # noqa: A002
        self._index.insert(len(self._ids), minhash, check_duplication=False)
        self._ids.append(id)
        self._minima.append(minhash.hashvalues)


def comparable_text(prompt: list[Message]) -> str:
    """What prompts are compared by: every turn but the system's, which a whole dataset shares."""
    return prompt_text([message for message in prompt if message["role"] != "system"])


def fingerprints(pairs: Iterable[Pair]) -> list[Fingerprint]:
    """A row for each pair's prompt, the same on every machine, for `NearDuplicates.add_fingerprint`."""
    return [
        Fingerprint(id=pair.id, minhash=_minhash(comparable_text(pair.prompt)).hashvalues.tolist()) for pair in pairs
    ]


def _minhash(text: str) -> Any:
    minhash = MinHash(num_perm=PERMUTATIONS, hashfunc=crc32, permutations=_COEFFICIENTS)
    shingles = list(_shingles(text))
    for start in range(0, len(shingles), CHUNK):
        minhash.update_batch(shingles[start : start + CHUNK])
    return minhash


def _shingles(text: str) -> set[bytes]:
    """The words of a text and its pairs of neighbours, the first and the last word having the margin as one."""
    text = normalise(text)
    words = _WORD.findall(_UNSPACED.sub(r" \g<0> ", text)) or [text]
    pairs = (f"{left} {right}" for left, right in zip(["", *words], [*words, ""], strict=True))
    return {shingle.encode(errors="backslashreplace") for shingle in (*words, *pairs)}
