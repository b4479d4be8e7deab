"""Which rows are in which step: a function of lengths, batch size, seed and epoch alone.

So a training that is resumed, or done by more processes, has the same rows in each step. Trainer's sampler by length
draws from torch's state in the middle of an epoch, and accelerate's shards repeat rows in an epoch's last batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

GROUP = 16
"""Steps whose rows are sorted by length together: a step's rows are then about equally long, and little is padding."""


class Batches(Sampler[list[int]]):
    """A process's rows of each batch of an epoch: about equally long ones, every so many of a batch.

    An epoch has every row once, in batches whose sizes differ by at most one; the longest row is in the first.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, rank: int, processes: int) -> None:
        self._lengths, self._batch_size, self._seed = list(lengths), batch_size, seed
        self._rank, self._processes = rank, processes
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Have the next iteration be that of an epoch, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        dice = torch.Generator().manual_seed(self._seed * 1_000 + self._epoch)
        order = get_length_grouped_indices(self._lengths, self._batch_size, GROUP, generator=dice)
        batches = np.array_split(order, len(self))
        for place in [0, *(1 + torch.randperm(len(self) - 1, generator=dice)).tolist()]:
            yield share(batches[place].tolist(), len(self._lengths), self._rank, self._processes)


def share(rows: Sequence[int], blank: int, rank: int, processes: int) -> list[int]:
    """A process's rows, every so many, filled up with a blank one: all processes have as many."""
    filled = [*rows, *[blank] * (-len(rows) % processes)]
    return filled[rank::processes]


class Loader(DataLoader[Any]):
    """A data loader whose batches know the epoch, which Trainer tells it."""

    def set_epoch(self, epoch: int) -> None:
        """Have the next iteration be that of an epoch."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
