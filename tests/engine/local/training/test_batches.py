from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.local.training.batches import Batches, aligned, even, parts, share

LENGTHS = [37 * number % 101 + 1 for number in range(300)]


@given(st.lists(st.integers(1, 99), min_size=1, max_size=200), st.integers(1, 40), st.integers(0, 3))
def test_an_epoch_has_every_row_once_in_batches_of_about_one_size(lengths: list[int], size: int, epoch: int) -> None:
    batches = Batches(lengths, size, seed=1)
    found = batches.epoch(epoch)
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    assert len(found) == batches.steps
    assert max(map(len, found)) <= size and max(map(len, found)) - min(map(len, found)) <= 1
    assert epoch > 0 or lengths[found[0][0]] == max(lengths)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    one, other = Batches(LENGTHS, 8, seed=1), Batches(LENGTHS, 8, seed=1)
    assert [one.batch(step) for step in range(100)] == [other.batch(step) for step in reversed(range(100))][::-1]
    assert one.epoch(0) != one.epoch(1) and one.epoch(1) != Batches(LENGTHS, 8, seed=2).epoch(1)


def test_rows_of_a_batch_are_about_equally_long() -> None:
    padded = sum(len(batch) * max(LENGTHS[row] for row in batch) for batch in Batches(LENGTHS, 8, seed=1).epoch(0))
    assert padded < 1.2 * sum(LENGTHS)


@pytest.mark.parametrize(("rows", "processes"), [(8, 1), (8, 3), (2, 4)])
def test_processes_share_a_batch(rows: int, processes: int) -> None:
    shares = [share(range(rows), rank, processes) for rank in range(processes)]
    assert sorted(row for mine in shares for row in mine) == list(range(rows))


def test_parts_are_even_and_none_is_empty() -> None:
    assert parts([5, 6, 7, 8, 9], 4) == [[5, 6, 7], [8, 9]]
    assert parts([5], 4) == [[5]] and parts([], 4) == []
    assert even(10, 3) == [4, 3, 3]


@given(rows=st.integers(1, 12), processes=st.integers(1, 4), most=st.integers(1, 4))
def test_aligned_parts_are_as_many_in_each_process(rows: int, processes: int, most: int) -> None:
    cuts = [aligned(share(range(rows), rank, processes), rows, processes, most) for rank in range(processes)]
    assert len({len(cut) for cut in cuts}) == 1
    assert all(len(part) <= most for cut in cuts for part in cut)
    assert sorted(row for cut in cuts for part in cut for row in part) == list(range(rows))
