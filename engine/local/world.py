"""The processes that share a training, each with its rank: torchrun tells them by environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PATIENCE = timedelta(days=30)
"""How long a process waits for another one: as long as a run may be paused. A launcher notices at once if one dies."""


def rank() -> int:
    """This process's number; 0 is the first, which alone reports and records."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def first_process_first() -> Iterator[None]:
    """Run a block in the first process, and after that in the others, which find what it left.

    They meet here: from the first such block on, each process has a GPU to itself where there are GPUs.
    """
    if world_size() == 1:
        yield
        return
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    with PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE).main_process_first():
        yield


def barrier() -> None:
    """Wait until all processes are here."""
    if world_size() > 1:
        import torch.distributed

        torch.distributed.barrier()


def add_up(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, in place: the same bits in each of them."""
    if world_size() > 1:
        import torch.distributed

        torch.distributed.all_reduce(values)
    return values
