"""Families: pairs that must stay in one split, since one shows what the other asks for.

Related, transitively, are pairs of one recorded conversation (by its id, or by turns that continue one another) and
pairs whose prompts are near-duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from engine.dataset.conversations import continued
from engine.dataset.duplicates import THRESHOLD, comparable_text
from engine.dataset.links import Links, components, stars
from engine.dataset.shingles import Rows, Words, boilerplate
from engine.dataset.similarity_join import near_duplicates
from engine.protocol.rows import Pair

CONSTANT = 10
"""Fewer rows with one id are a conversation, even where they are most of the data."""

_CHUNK_CHARS = 2_000_000
"""Characters of the prompts that are hashed at once: bounds the memory that this takes."""

_CHUNK_TEXTS = 4096


def families(pairs: Sequence[Pair]) -> list[list[int]]:
    """The positions of pairs, grouped by family; in the order of each family's first pair."""
    known = np.concatenate([continued(pairs), _recorded_together(pairs)])
    labels = components(len(pairs), np.concatenate([known, _alike(pairs, known)]))
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []
    return sorted((part.tolist() for part in parts), key=lambda family: int(family[0]))


def ungrouped(pairs: Sequence[Pair]) -> int:
    """How many pairs have a conversation's id that is no such id: more than half of all pairs have it."""
    counts = Counter(pair.group for pair in pairs if pair.group)
    count = max(counts.values(), default=0)
    return count if _is_constant(count, len(pairs)) else 0


def _is_constant(count: int, pairs: int) -> bool:
    return count >= CONSTANT and count > pairs / 2


def _recorded_together(pairs: Sequence[Pair]) -> Links:
    """Links between pairs with the same conversation id, but for an id that says nothing, such as "default"."""
    counts = Counter(pair.group for pair in pairs if pair.group)
    ids = [group for group, count in counts.items() if not _is_constant(count, len(pairs))]
    numbers = {group: number for number, group in enumerate(ids)}
    members = [number for number, pair in enumerate(pairs) if pair.group in numbers]
    keys = np.array([numbers[pairs[member].group] for member in members], dtype=np.int64)
    return stars(keys, np.array(members, dtype=np.int64))


def _alike(pairs: Sequence[Pair], known: Links) -> Links:
    """Links between pairs whose prompts are near-duplicates, boilerplate that nearly all share left out.

    Pairs that are `known` to be related are not compared.
    """
    chunks = [Words(texts).shingles.distinct() for texts in _chunks(pairs)]
    common = boilerplate(chunks)
    return near_duplicates(Rows.joined([chunk.without(common) for chunk in chunks]), THRESHOLD, known)


def _chunks(pairs: Sequence[Pair]) -> Iterator[list[str]]:
    texts: list[str] = []
    chars = 0
    for pair in pairs:
        text = comparable_text(pair.prompt)
        texts.append(text)
        chars += len(text)
        if chars > _CHUNK_CHARS or len(texts) == _CHUNK_TEXTS:
            yield texts
            texts, chars = [], 0
    yield texts
