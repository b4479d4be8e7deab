"""Records the load of the worker's machine in the run: few rows, however long the run takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping

from engine.local.machine import Sampler
from engine.protocol import jsonl, machine, records
from engine.protocol.errors import DamagedError
from engine.protocol.machine import MachineRow, merged
from engine.protocol.run_dir import Run

EVERY_S = 10.0
"""Between two samples."""

MOST_ROWS = 2_000
"""Of a file: at this many, two become one, and each later one stands for twice the time."""


class MachineRecord:
    """Samples the machine and writes rows; it keeps one row in memory, that which is not written yet."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._sampler = Sampler({"CUDA_VISIBLE_DEVICES": ""})  # a run has no GPU before its first stage that needs one
        self._rows = 0
        self._pause = EVERY_S
        self._open: MachineRow | None = None

    def follow(self, environment: Mapping[str, str]) -> None:
        """Record the GPUs of a stage's process from now on."""
        self._sampler.look_at(environment)

    async def watch(self) -> None:
        """Record until this is cancelled; the file is written here, and not in a thread that would go on."""
        with contextlib.suppress(OSError):
            self._continue(await asyncio.to_thread(self._read))
        while True:
            await asyncio.sleep(EVERY_S)
            sampled = await asyncio.to_thread(self._sampler.sample)
            with contextlib.suppress(OSError):  # a full disk: the stage at work will say why
                self.take(MachineRow(time=round(time.time(), 1), seconds=EVERY_S, machine=sampled))

    def take(self, row: MachineRow) -> None:
        """Add a sample; it is written once the row that it belongs to stands for long enough."""
        self._open = row if self._open is None else merged(self._open, row)
        if self._open.seconds >= self._pause:
            done, self._open = self._open, None
            jsonl.append(self._run.machine_file, [records.to_row(done)], self._run.state_mode)
            self._rows += 1
            if self._rows >= MOST_ROWS:
                self._thin()

    def _read(self) -> list[MachineRow]:
        """The rows of the last worker; none where they are damaged: a chart is not worth a run."""
        try:
            return list(machine.read(self._run.machine_file))
        except DamagedError:
            return []

    def _continue(self, rows: list[MachineRow]) -> None:
        """Go on where the last worker was, or begin a new file."""
        if not rows:
            jsonl.replace(self._run.machine_file, "", self._run.state_mode)
        self._rows = len(rows)
        self._pause = max((row.seconds for row in rows), default=EVERY_S)

    def _thin(self) -> None:
        """Make one row of every two."""
        rows = list(machine.read(self._run.machine_file))
        pairs = [rows[at : at + 2] for at in range(0, len(rows), 2)]
        kept = [merged(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        text = "".join(f"{jsonl.dumps(records.to_row(row))}\n" for row in kept)
        jsonl.replace(self._run.machine_file, text, self._run.state_mode)
        self._rows, self._pause = len(kept), 2 * self._pause
