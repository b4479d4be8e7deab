"""The batches of a stage, answered by one process or shared by several, in one file in the order of the batches.

Each process takes every n-th batch and writes its rows to a file of its own, whole or not at all. The first process
appends those files to the result as soon as all earlier batches are there. So the result is always a beginning of
what one process would write, and a stage may be resumed by another number of processes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.local.world import from_first, rank, world_size
from engine.protocol import jsonl

POLL_S = 0.2


class Shares:
    """The rows of batches: `sizes` are their numbers of rows, `result` is the file with all of them in the end."""

    def __init__(self, result: Path, sizes: Sequence[int]) -> None:
        """Cut `result` to its whole batches, in the first process; a torn one is answered again. All processes meet."""
        self._result, self._sizes = result, list(sizes)
        self._parts = result.with_name(f"{result.stem}-batches")
        self._merged = from_first(self._whole_batches)
        self.merge()

    def mine(self) -> Iterator[int]:
        """The batches that are this process's to answer, by number, without those that are answered."""
        for number in range(rank(), len(self._sizes), world_size()):
            if number >= self._merged and not self._part(number).exists():
                yield number

    def put(self, number: int, rows: list[jsonl.Row]) -> None:
        """Keep the rows of a batch."""
        jsonl.write(self._part(number), rows)
        self.merge()

    def merge(self) -> None:
        """In the first process, append the rows of all batches that are next."""
        while rank() == 0 and self._merged < len(self._sizes) and (part := self._part(self._merged)).exists():
            jsonl.append(self._result, jsonl.read(part))
            self._merged += 1
            part.unlink()

    def answered(self) -> int:
        """How many rows are there, in the first process: of merged batches, and of those that wait for earlier ones."""
        waiting = (number for number in range(self._merged, len(self._sizes)) if self._part(number).exists())
        return sum(self._sizes[: self._merged]) + sum(self._sizes[number] for number in waiting)

    def wait(self) -> Iterator[None]:
        """In the first process, wait for the other ones' batches; yields now and then until the result is whole.

        A launcher ends all processes when one of them fails, so this waits for no dead one.
        """
        while rank() == 0:
            self.merge()
            yield
            if self._merged == len(self._sizes):
                shutil.rmtree(self._parts, ignore_errors=True)  # killed writers left what they had begun
                return
            time.sleep(POLL_S)

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06}.jsonl"

    def _whole_batches(self) -> int:
        """How many batches are in the result, which loses the rows of a torn one; files of these are left-overs."""
        rows = list(jsonl.read(self._result))
        done, kept = 0, 0
        while done < len(self._sizes) and kept + self._sizes[done] <= len(rows):
            kept += self._sizes[done]
            done += 1
        if self._result.exists():
            jsonl.write(self._result, rows[:kept])
        for number in range(done):
            self._part(number).unlink(missing_ok=True)
        return done
