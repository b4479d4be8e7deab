"""However long a run takes, its machine has few rows; a worker goes on where the last one was."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from engine.protocol import machine, run_files
from engine.protocol.machine import Machine, MachineRow
from engine.protocol.run_dir import Run, create
from engine.worker import machine_record
from engine.worker.machine_record import EVERY_S, MachineRecord

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path / "runs", "demo", SETTINGS)


def sample(n: int) -> MachineRow:
    return MachineRow(time=1000.0 + n * EVERY_S, seconds=EVERY_S, machine=Machine(n % 100, n, 10_000_000))


def test_a_long_run_has_few_rows_that_stand_for_all_of_its_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_record, "MOST_ROWS", 40)
    record, longest = MachineRecord(run), 0
    for n in range(3_000):
        record.take(sample(n))
        if n % 50 == 0:
            longest = max(longest, run.machine_file.read_bytes().count(b"\n"))
    rows = list(machine.read(run.machine_file))
    assert longest < 40 and len(rows) < 40
    assert sum(row.seconds for row in rows) > 3_000 * EVERY_S * 0.95
    assert [row.time for row in rows] == sorted(row.time for row in rows)
    assert rows[-1].machine.used >= 2_900, "the highest of the newest"
    assert rows[5].machine.busy == pytest.approx(49.5, abs=30), "a mean"


async def test_it_is_recorded_until_it_is_cancelled_and_by_the_next_worker(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_record, "EVERY_S", 0.01)

    async def recorded(count: int) -> None:
        watching = asyncio.create_task(MachineRecord(run).watch())
        while len(list(machine.read(run.machine_file))) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    await recorded(2)
    before = list(machine.read(run.machine_file))
    await recorded(len(before) + 2)
    after = list(machine.read(run.machine_file))
    assert after[: len(before)] == before
    assert all(row.machine.total > row.machine.used > 0 and row.seconds == 0.01 for row in after)
    assert stat.S_IMODE(run.machine_file.stat().st_mode) == 0o600
    assert run_files.foreign(run) == []


async def test_a_damaged_record_begins_again_and_a_full_disk_harms_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_record, "EVERY_S", 0.01)
    run.machine_file.write_text("not a row\n")
    record = MachineRecord(run)
    watching = asyncio.create_task(record.watch())
    await asyncio.sleep(0)
    while b"seconds" not in run.machine_file.read_bytes():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    tried = asyncio.Event()

    def full(row: MachineRow) -> None:
        tried.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "take", full)
    await tried.wait()
    await asyncio.sleep(0)
    assert not watching.done()
    watching.cancel()
