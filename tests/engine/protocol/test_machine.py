"""Two rows become one: loads and power as means by their time, memory and temperature at their highest."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import jsonl, machine, records
from engine.protocol.errors import DamagedError
from engine.protocol.machine import Gpu, Machine, MachineRow, merged


def row(time: float, seconds: float, busy: float, used: int, *gpus: Gpu) -> MachineRow:
    return MachineRow(time=time, seconds=seconds, machine=Machine(busy, used, 100, gpus))


def test_loads_are_means_by_time_and_memory_is_the_highest() -> None:
    one = row(10, 10, 90.0, 60, Gpu(80.0, 40, 50, "0", 300.0, 70.0))
    other = row(40, 30, 10.0, 20, Gpu(0.0, 10, 50, "0", 100.0, 40.0))
    assert merged(one, other) == row(40, 40, 30.0, 60, Gpu(20.0, 40, 50, "0", 150.0, 70.0))


def test_a_gpu_of_one_row_alone_stays_as_it_was_and_unknown_figures_count_for_nothing() -> None:
    instance = Gpu(None, 5, 20, "0:1")
    both = merged(row(10, 10, 0.0, 1, instance), row(20, 10, 0.0, 1, Gpu(None, 7, 20, "0:1"), Gpu(9.0, 1, 80, "3")))
    assert both.machine.gpus == (Gpu(None, 7, 20, "0:1"), Gpu(9.0, 1, 80, "3"))
    known = merged(row(10, 10, 0.0, 1, instance), row(20, 10, 0.0, 1, Gpu(50.0, 7, 20, "0:1", 80.0, 33.0)))
    assert known.machine.gpus == (Gpu(50.0, 7, 20, "0:1", 80.0, 33.0),)


def test_a_torn_last_row_is_left_out_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    file = tmp_path / "machine.jsonl"
    assert list(machine.read(file)) == []
    rows = [row(10, 10, 1.0, 2, Gpu(3.0, 4, 5, "0")), row(20, 10, 1.0, 2)]
    jsonl.append(file, map(records.to_row, rows))
    with file.open("a") as more:
        more.write('{"time": 30')
    assert list(machine.read(file)) == rows
    file.write_text('{"time": "noon"}\n')
    with pytest.raises(DamagedError):
        list(machine.read(file))
