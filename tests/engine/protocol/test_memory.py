from __future__ import annotations

import pytest
import torch

from engine.protocol.memory import no_memory


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (MemoryError(), True),
        (RuntimeError("probability tensor contains either inf, nan or element < 0"), False),
        (ValueError("memory"), False),
    ],
)
def test_memory_runs_out_in_many_words(error: Exception, ran_out: bool) -> None:
    assert no_memory(error) == ran_out
