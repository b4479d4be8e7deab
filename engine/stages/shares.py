"""The batches of a stage, answered by one process or shared by several, in one file in the order of the batches.

Each process takes every n-th batch and writes its rows to a file of its own, whole or not at all. The first process
appends those files to the result as soon as all earlier batches are there. So the result is always a beginning of
what one process would write, and a stage may be resumed by another number of processes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from engine.local.world import from_first, rank, world_size
from engine.protocol import jsonl
from engine.protocol.errors import DamagedError

POLL_S = 0.2

Key = tuple[str, int]
"""What a row answers: the id of a prompt, and the number of its sample."""


class Shares:
    """The rows of batches: `keys` are those of their rows, `result` is the file with all of them in the end."""

    def __init__(self, result: Path, keys: Sequence[Sequence[Key]]) -> None:
        """Keep whole batches alone, in the first process; a torn one is answered again. All processes meet.

        Files of other batches, as another batch size forms them, are removed: their numbers mean nothing here.
        """
        self._result, self._keys = result, [list(batch) for batch in keys]
        self._sizes = [len(batch) for batch in self._keys]
        self._parts = result.with_name(f"{result.stem}-batches")
        self._merged = 0
        self._merged = from_first(self._begin)

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

    def _begin(self) -> int:
        """Take over what an earlier process left; the number of merged batches."""
        self._merged = self._whole_batches()
        waiting = self._waiting()
        for part in self._parts.glob("[0-9]*.jsonl"):
            if part not in waiting:
                part.unlink()
        self.merge()
        return self._merged

    def _whole_batches(self) -> int:
        """How many batches are in the result, which loses all rows behind them."""
        rows = list(_whole_rows(self._result))
        done, kept = 0, 0
        while done < len(self._keys) and self._keys[done] == _keys(rows[kept : kept + self._sizes[done]]):
            kept += self._sizes[done]
            done += 1
        if self._result.exists():
            jsonl.write(self._result, rows[:kept])
        return done

    def _waiting(self) -> set[Path]:
        """The files that have exactly the rows of a batch that is not merged."""
        numbered = ((number, self._part(number)) for number in range(self._merged, len(self._keys)))
        return {part for number, part in numbered if part.exists() and _keys(_whole_rows(part)) == self._keys[number]}


def _whole_rows(path: Path) -> Iterator[jsonl.Row]:
    """The rows before the first that a power cut damaged."""
    with suppress(DamagedError):
        yield from jsonl.read(path)


def _keys(rows: Iterable[jsonl.Row]) -> list[Key]:
    return [(row.get("id", ""), row.get("sample", -1)) for row in rows]
