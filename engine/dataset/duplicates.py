"""Near-duplicates among many texts: MinHash proposes, the exact Jaccard similarity decides.

Two sets share a minimum under a random hash as often as their Jaccard similarity says: Broder, "On the resemblance and
containment of documents" (1997). Minima in bands make an index: Leskovec et al., "Mining of Massive Datasets", 3.4.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash  # type: ignore[import-untyped]

from engine.dataset.shingles import Rows
from engine.dataset.words import Hashes
from engine.protocol.rows import Message, prompt_text

PERMUTATIONS = 128
THRESHOLD = 0.9
SLACK = 0.12
"""Candidates whose estimate is this far below the threshold are skipped: at 0.9 it is over four standard errors."""

_SEED = 1
_FACTORS = np.random.default_rng(_SEED).integers(1, 2**63, PERMUTATIONS, dtype=np.uint64) | np.uint64(1)


class Sketch(NamedTuple):
    """A text's entry in the index: its shingles, their minima, and the minima of each band as one key."""

    shingles: Hashes
    minima: NDArray[np.uint32]
    keys: list[int]


class Twin(NamedTuple):
    """A near-duplicate text, and the Jaccard similarity, from 0 to 1."""

    similarity: float
    id: str


class NearDuplicates:
    """An index of texts that finds the near-duplicates of a new one.

    `threshold` is the Jaccard similarity, from 0 to 1, from which two texts are twins. At 0.9 the index finds 99.8 % of
    the twins with exactly this similarity, and more of those above it.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._bands = bands(threshold)
        self._newest: dict[int, int] = {}
        self._older = array("i")
        """Texts with the same key are chained: each names the one before it, by band."""
        self._ids: list[str] = []
        self._sketches: list[tuple[Hashes, NDArray[np.uint32]]] = []

    def sketches(self, rows: Rows) -> Iterator[Sketch]:
        """The sketches of some texts, from their shingles."""
        minima = signatures(rows)
        for number, keys in enumerate(band_keys(minima, self._threshold).tolist()):
            yield Sketch(rows.row(number), minima[number], keys)

    def add(self, id: str, sketch: Sketch) -> None:  # noqa: A002
        """Remember a text."""
        number = len(self._ids)
        for key in sketch.keys:
            self._older.append(self._newest.get(key, -1))
            self._newest[key] = number
        self._ids.append(id)
        self._sketches.append((sketch.shingles, sketch.minima))

    def twin(self, sketch: Sketch) -> str | None:
        """The id of the text most like this one, if their similarity reaches the threshold."""
        best = max(self.twins(sketch), key=lambda twin: twin.similarity, default=None)
        return best.id if best else None

    def twins(self, sketch: Sketch) -> Iterator[Twin]:
        """All texts whose similarity to this one reaches the threshold, oldest first."""
        candidates = sorted(self._candidates(sketch.keys))
        if not candidates:
            return
        minima = np.stack([self._sketches[number][1] for number in candidates])
        estimates = (minima == sketch.minima).mean(axis=1)
        for index in np.flatnonzero(estimates >= self._threshold - SLACK):
            number = candidates[index]
            similarity = jaccard(self._sketches[number][0], sketch.shingles)
            if similarity >= self._threshold:
                yield Twin(similarity, self._ids[number])

    def _candidates(self, keys: list[int]) -> set[int]:
        candidates = set()
        for band, key in enumerate(keys):
            number = self._newest.get(key, -1)
            while number >= 0:
                candidates.add(number)
                number = self._older[number * self._bands + band]
        return candidates


def signatures(rows: Rows) -> NDArray[np.uint32]:
    """The minima of each text, one row per text; they depend on rensa's version, so they are never stored."""
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        rows.hashes.astype(np.uint64), rows.starts.astype(np.uint64), PERMUTATIONS, _SEED
    )
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(-1, PERMUTATIONS)


def bands(threshold: float) -> int:
    """How many bands the minima make; one more than may differ, so that no pair that is estimated as twins is missed.

    That is the pigeonhole principle.
    """
    return max(2, int(PERMUTATIONS * (1 - threshold)) + 1)


def band_keys(minima: NDArray[np.uint32], threshold: float) -> NDArray[np.uint64]:
    """The minima of each band as one key below 2**60, of shape (texts, bands)."""
    count = bands(threshold)
    width = PERMUTATIONS // count
    banded = minima[:, : width * count].reshape(len(minima), count, width).astype(np.uint64)
    mixed = (banded * _FACTORS[:width]).sum(axis=2) * _FACTORS[:count] + np.arange(count, dtype=np.uint64)
    keys: NDArray[np.uint64] = mixed >> np.uint64(4)
    return keys


def jaccard(one: Hashes, other: Hashes) -> float:
    """The similarity of two sorted sets: what they share over what either has; two empty ones are the same."""
    shared = np.intersect1d(one, other, assume_unique=True).size
    either = one.size + other.size - shared
    return float(shared / either) if either else 1.0


def comparable_text(prompt: Sequence[Message]) -> str:
    """The text that prompts are compared by: every turn but the system's, which a whole dataset shares.

    It is the system's where the prompt has nothing else.
    """
    return prompt_text([message for message in prompt if message["role"] != "system"] or prompt)
