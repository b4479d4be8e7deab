"""The processes that share a stage, each with its rank: their launcher tells them by torchrun's variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from engine.local.gpus import VISIBLE

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a process waits for another one: as long as a run may be paused. A launcher notices at once if one dies."""

OWN_DEVICE = "LLAMADUO_OWN_DEVICE"
"""Set for processes that each work alone on a GPU of their own, and only meet."""


def rank() -> int:
    """This process's number; 0 is the first, which alone reports and records."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def take_own_device() -> None:
    """Where processes work alone, show this one only the GPU of its number on this machine; before torch is loaded."""
    if OWN_DEVICE not in os.environ or "LOCAL_RANK" not in os.environ:
        return
    place = int(os.environ["LOCAL_RANK"])
    listed = os.environ.get(VISIBLE)
    names = listed.split(",") if listed is not None else [str(number) for number in range(place + 1)]
    if place < len(names):
        os.environ[VISIBLE] = names[place]


@contextmanager
def first_process_first() -> Iterator[None]:
    """Run a block in the first process, and after that in the others, which find what it left.

    They meet here: from the first such block on, each process has a GPU to itself where there are GPUs.
    """
    if world_size() == 1:
        yield
        return
    with _state().main_process_first():
        yield


def from_first(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, in all of them."""
    if world_size() == 1:
        return make()
    import torch

    _state()
    made: list[Any] = [make() if rank() == 0 else None]
    torch.distributed.broadcast_object_list(made, src=0)
    return made[0]  # type: ignore[no-any-return]


def _state() -> Any:
    """Accelerate's view of the processes; those that only meet need no GPU for that, which NCCL would ask for."""
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    apart = OWN_DEVICE in os.environ or not torch.cuda.is_available()
    return PartialState(cpu=apart, timeout=PATIENCE)


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
