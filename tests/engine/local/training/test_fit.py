from __future__ import annotations

import pytest
import torch

from engine.local.training.fit import Fit, is_out_of_memory


def test_passes_are_halved_before_activations_are_computed_again() -> None:
    fit: Fit | None = Fit(6, False)
    found = []
    while fit is not None:
        found.append((fit.micro_batch, fit.recompute))
        fit = fit.smaller()
    assert found == [(6, False), (3, False), (2, False), (1, False), (1, True)]
    assert Fit(2, True).smaller() == Fit(1, True)


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_short_memory(error: Exception, short: bool) -> None:
    assert is_out_of_memory(error) == short
