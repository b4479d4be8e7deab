from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.local.training.batches import Batches, share

LENGTHS = [37 * number % 101 + 1 for number in range(300)]


def epoch(batches: Batches, number: int) -> list[list[int]]:
    batches.set_epoch(number)
    return list(batches)


@given(st.lists(st.integers(1, 99), min_size=1, max_size=200), st.integers(1, 40), st.integers(0, 3))
def test_an_epoch_has_every_row_once_in_batches_of_about_one_size(lengths: list[int], size: int, number: int) -> None:
    batches = Batches(lengths, size, seed=1, rank=0, processes=1)
    found = epoch(batches, number)
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    assert len(found) == len(batches)
    assert max(map(len, found)) <= size and max(map(len, found)) - min(map(len, found)) <= 1
    assert max(lengths[row] for row in found[0]) == max(lengths)


def test_a_batch_depends_on_seed_and_epoch_alone() -> None:
    one, other = (Batches(LENGTHS, 8, seed=1, rank=0, processes=1) for _ in range(2))
    assert [epoch(one, number) for number in (0, 1, 2)] == [epoch(other, number) for number in (2, 1, 0)][::-1]
    assert epoch(one, 0) != epoch(one, 1)
    assert epoch(one, 1) != epoch(Batches(LENGTHS, 8, seed=2, rank=0, processes=1), 1)


def test_rows_of_a_batch_are_about_equally_long() -> None:
    batches = epoch(Batches(LENGTHS, 8, seed=1, rank=0, processes=1), 0)
    padded = sum(len(batch) * max(LENGTHS[row] for row in batch) for batch in batches)
    assert padded < 1.2 * sum(LENGTHS)


@pytest.mark.parametrize("processes", [2, 3, 16])
def test_processes_share_the_batches_of_one(processes: int) -> None:
    one = epoch(Batches(LENGTHS[:50], 8, seed=1, rank=0, processes=1), 1)
    shares = [epoch(Batches(LENGTHS[:50], 8, seed=1, rank=rank, processes=processes), 1) for rank in range(processes)]
    for place, batch in enumerate(one):
        rows = [row for mine in shares for row in mine[place]]
        assert sorted(row for row in rows if row < 50) == sorted(batch)
        assert len({len(mine[place]) for mine in shares}) == 1


def test_a_share_is_filled_up_with_blank_rows() -> None:
    assert [share([5, 6, 7], 9, rank, 2) for rank in (0, 1)] == [[5, 7], [6, 9]]
    assert share([], 9, 1, 2) == []
