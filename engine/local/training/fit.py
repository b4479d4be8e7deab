"""How a step is made to fit into memory: rows in one pass, and recomputed activations.

After an out-of-memory error a step is repeated with half the rows in a pass, then with activations that backward
computes again (gradient checkpointing). Both give the same step, as the gradients of the passes are summed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]

from engine.protocol.counts import number_of


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
        rows = f"{number_of(self.micro_batch, 'pair')} in a pass"
        return f"{rows}, with gradient checkpointing" if self.recompute else rows


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, also as CUDA's libraries word it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return should_reduce_batch_size(error) or (isinstance(error, RuntimeError) and "ALLOC_FAILED" in str(error))
