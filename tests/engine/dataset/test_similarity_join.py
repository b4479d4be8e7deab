from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import similarity_join
from engine.dataset.duplicates import jaccard
from engine.dataset.links import components, no_links
from engine.dataset.shingles import Rows, Words
from engine.dataset.similarity_join import near_duplicates, similarities


def sets(*found: set[int]) -> Rows:
    return Rows.of([np.array(sorted(row), dtype=np.uint32) for row in found])


def groups(rows: Rows, links: np.ndarray) -> set[frozenset[int]]:
    labels = components(len(rows.starts) - 1, links)
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def by_force(rows: Rows, threshold: float) -> set[frozenset[int]]:
    """The groups that comparing every set with every other gives."""
    count = len(rows.starts) - 1
    pairs = [
        pair
        for pair in itertools.combinations(range(count), 2)
        if jaccard(rows.row(pair[0]), rows.row(pair[1])) >= threshold
    ]
    return groups(rows, np.array(pairs, dtype=np.int64).reshape(-1, 2))


@given(
    st.lists(st.sets(st.integers(0, 40), max_size=30), max_size=20),
    st.sampled_from([0.5, 0.6, 0.8, 0.9, 1.0]),
)
def test_the_groups_are_those_of_comparing_all_with_all(found: list[set[int]], threshold: float) -> None:
    rows = sets(*found)
    assert groups(rows, near_duplicates(rows, threshold, no_links())) == by_force(rows, threshold)


@given(st.integers(0, 10_000), st.integers(10, 60))
def test_sets_just_at_the_threshold_are_found(seed: int, size: int) -> None:
    """Similarities near 0.9, among many texts that have most of their words in common."""
    dice = random.Random(seed)
    base = [dice.getrandbits(32) for _ in range(size)]
    found = [
        {*dice.sample(base, size - dice.randint(0, size // 8)), *(dice.getrandbits(32) for _ in range(size // 30))}
        for _ in range(25)
    ]
    rows = sets(*found)
    assert groups(rows, near_duplicates(rows, 0.9, no_links())) == by_force(rows, 0.9)


@pytest.mark.parametrize("chunk", [similarity_join.BITS, 1000])
def test_many_chunks_are_the_same_as_one(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"word{n}" for n in range(60)]
    dice = random.Random(1)
    texts = [" ".join(dice.choices(words, k=dice.choice((0, 1, 5, 40)))) for _ in range(200)]
    texts += [text.upper() + "!" for text in texts[:50]]
    rows = Words(texts).shingles.distinct()
    expected = groups(rows, near_duplicates(rows, 0.9, no_links()))
    monkeypatch.setattr(similarity_join, "_CHUNK", chunk)
    assert groups(rows, near_duplicates(rows, 0.9, no_links())) == expected == by_force(rows, 0.9)


def test_similarities_are_exact() -> None:
    rows = sets({1, 2, 3}, {2, 3, 4}, set(), set(), {9})
    pairs = np.array([[0, 1], [2, 3], [0, 2], [4, 4]])
    assert similarities(rows, pairs).tolist() == [0.5, 1.0, 0.0, 1.0]


def test_thousands_that_share_their_rarest_shingle_take_no_time_and_stay_apart() -> None:
    """Each shares half of its shingles with all others; those that are near-duplicates are side by side in size."""
    dice = random.Random(2)
    common = {dice.getrandbits(32) for _ in range(50)}
    found = [common | {dice.getrandbits(32) for _ in range(50)} for _ in range(3000)]
    twins = [row | {dice.getrandbits(32)} for row in found[:20]]
    rows = sets(*found, *twins)
    links = near_duplicates(rows, 0.9, no_links())
    assert sorted(map(tuple, links.tolist())) == [(number, 3000 + number) for number in range(20)]


def test_links_that_are_known_are_not_found_again() -> None:
    rows = sets(*({*range(50), 100 + number} for number in range(6)))
    known = np.array([[0, 1], [1, 2], [4, 5]])
    links = near_duplicates(rows, 0.9, known)
    assert len(links) < 5
    assert groups(rows, np.concatenate([known, links])) == by_force(rows, 0.9) == {frozenset(range(6))}
