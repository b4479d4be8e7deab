"""How a step is made to fit into memory: rows in one pass, and recomputed activations.

After an out-of-memory error a step is repeated with half the rows in a pass, then with activations that backward
computes again (gradient checkpointing). Both give the same step, as the gradients of the passes are summed.
"""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass

import torch

_NO_MEMORY = re.compile(r"out of memory|not enough memory|allocate memory|ALLOC_FAILED", re.IGNORECASE)
"""How CUDA's libraries, Apple's backend and torch's allocator on a processor word it, as RuntimeErrors."""


@dataclass(frozen=True, slots=True)
class Fit:
    """At most `micro_batch` rows in a forward and backward pass; with `recompute` only each layer's input is kept."""

    micro_batch: int
    recompute: bool

    def smaller(self) -> Fit | None:
        """The next one to try, None where nothing is left."""
        if self.micro_batch > 1:
            return Fit((self.micro_batch + 1) // 2, self.recompute)
        return None if self.recompute else Fit(1, True)

    def __str__(self) -> str:
        rows = f"{self.micro_batch} {'pair' if self.micro_batch == 1 else 'pairs'} in a pass"
        return f"{rows}, with gradient checkpointing" if self.recompute else rows


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def free_memory() -> None:
    """Return what a failed pass has left in torch's cache."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
