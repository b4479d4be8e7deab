"""Whether an error means that memory ran out."""

from __future__ import annotations

import re

_NO_MEMORY = re.compile(
    r"OutOfMemoryError|(out of|not enough|allocate) memory|ALLOC_FAILED|failed to map segment|bad_alloc", re.IGNORECASE
)
"""How torch, CUDA and SQLite word it, which have no common error type for it."""


def no_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the GPU or of the machine."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(f"{type(error).__name__} {error}"))
