"""Batches that several processes share end up in one file, in their order, whoever dies in between."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from engine.protocol import jsonl
from engine.stages import shares
from engine.stages.shares import Key, Shares

SIZES = [2, 2, 2, 1]
ROWS: list[jsonl.Row] = [{"id": f"p{number // 2}", "sample": number % 2} for number in range(sum(SIZES))]


def batched(sizes: list[int]) -> list[list[jsonl.Row]]:
    rows = iter(ROWS)
    return [list(islice(rows, size)) for size in sizes]


def keys(batches: list[list[jsonl.Row]]) -> list[list[Key]]:
    return [[(row["id"], row["sample"]) for row in batch] for batch in batches]


BATCHES = batched(SIZES)


class World:
    """Two processes as one after the other: what the first finds out at the start is told to both."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        self.rank, self.size, self.told = 0, size, 0
        monkeypatch.setattr(shares, "rank", lambda: self.rank)
        monkeypatch.setattr(shares, "world_size", lambda: self.size)
        monkeypatch.setattr(shares, "from_first", self._from_first)
        monkeypatch.setattr(shares, "POLL_S", 0.0)

    def _from_first(self, make: object) -> object:
        if self.rank == 0:
            assert callable(make)
            self.told = make()
        return self.told

    def process(self, rank: int, result: Path, batches: list[list[jsonl.Row]] = BATCHES) -> Shares:
        self.rank = rank
        return Shares(result, keys(batches))


def answer(process: Shares, most: int = 9, batches: list[list[jsonl.Row]] = BATCHES) -> list[int]:
    numbers = list(islice(process.mine(), most))
    for number in numbers:
        process.put(number, batches[number])
    return numbers


def test_one_process_writes_batch_by_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, result = World(monkeypatch, 1), tmp_path / "responses.jsonl"
    assert answer(world.process(0, result), most=2) == [0, 1]
    assert list(jsonl.read(result)) == ROWS[:4]
    jsonl.append(result, ROWS[4:5])
    again = world.process(0, result)
    assert again.answered() == 4, "half of a batch is no batch"
    assert answer(again) == [2, 3] and list(again.wait()) == [None]
    assert list(jsonl.read(result)) == ROWS and [path.name for path in tmp_path.iterdir()] == [result.name]


def test_two_processes_fill_one_file_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, result = World(monkeypatch, 2), tmp_path / "responses.jsonl"
    first, second = world.process(0, result), world.process(1, result)
    assert answer(second) == [1, 3]
    assert not result.exists() or list(jsonl.read(result)) == []
    world.rank = 0
    assert first.answered() == 3, "waiting for the batch before them"
    assert answer(first) == [0, 2]
    assert list(first.wait()) == [None]
    assert list(jsonl.read(result)) == ROWS and [path.name for path in tmp_path.iterdir()] == [result.name]


def test_another_number_of_processes_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, result = World(monkeypatch, 2), tmp_path / "responses.jsonl"
    first, second = world.process(0, result), world.process(1, result)
    assert answer(second) == [1, 3]
    world.rank = 0
    assert answer(first, most=1) == [0]
    assert list(jsonl.read(result)) == ROWS[:4]
    world.size = 1
    alone = world.process(0, result)
    assert alone.answered() == 5 and answer(alone) == [2] and list(alone.wait()) == [None]
    assert list(jsonl.read(result)) == ROWS


def test_a_batch_that_was_appended_and_not_yet_removed_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, result = World(monkeypatch, 1), tmp_path / "responses.jsonl"
    jsonl.write(result, BATCHES[0])
    jsonl.write(tmp_path / "responses-batches/000000.jsonl", BATCHES[0])
    (tmp_path / "responses-batches/.000001.jsonl.77.tmp").write_text("{")
    process = world.process(0, result)
    assert process.answered() == 2 and answer(process) == [1, 2, 3] and list(process.wait()) == [None]
    assert list(jsonl.read(result)) == ROWS and [path.name for path in tmp_path.iterdir()] == [result.name]


@pytest.mark.parametrize("sizes", [[1] * 7, [2, 1, 2, 2], [3, 3, 1], [4, 3], [7], SIZES])
def test_files_of_other_batches_are_not_taken_for_these(
    sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, result = World(monkeypatch, 2), tmp_path / "responses.jsonl"
    world.process(0, result)
    assert answer(world.process(1, result)) == [1, 3]
    world.size, batches = 1, batched(sizes)
    alone = world.process(0, result, batches)
    assert alone.answered() == (3 if sizes == SIZES else 0)
    answer(alone, batches=batches)
    assert list(alone.wait()) == [None] and list(jsonl.read(result)) == ROWS


def test_rows_of_the_result_that_answer_something_else_are_answered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, result = World(monkeypatch, 1), tmp_path / "responses.jsonl"
    jsonl.write(result, [*ROWS[:2], *ROWS[1:3], *ROWS[4:]])
    process = world.process(0, result)
    assert process.answered() == 2 and answer(process) == [1, 2, 3] and list(process.wait()) == [None]
    assert list(jsonl.read(result)) == ROWS
