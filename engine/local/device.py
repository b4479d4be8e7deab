"""The device of the local LLM, and the batch sizes that fit on it."""

from __future__ import annotations

import platform
import resource
import sys
from dataclasses import dataclass
from typing import Literal

import psutil
import torch

DtypeName = Literal["bfloat16", "float16", "float32"]


@dataclass(frozen=True)
class Device:
    """A processor or GPU: `dtype` is the fastest number format with enough range for training.

    `bf16` says whether it does bfloat16 natively; memory is in bytes.
    """

    kind: Literal["cuda", "mps", "cpu"]
    name: str
    dtype: DtypeName
    bf16: bool
    memory_total: int
    memory_free: int

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


def find_device() -> Device:
    """The first CUDA GPU, else Apple's, else the processor."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device("cuda", torch.cuda.get_device_name(), "bfloat16" if bf16 else "float16", bf16, total, free)
    memory = psutil.virtual_memory()
    if torch.backends.mps.is_available():
        bf16 = torch.backends.mps.is_macos_or_newer(14, 0)
        name = platform.processor() or "Apple GPU"
        return Device("mps", name, "bfloat16" if bf16 else "float32", bf16, memory.total, memory.available)
    # Emulated bfloat16 is slower than float32, so only the instructions count.
    bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    name = platform.processor() or platform.machine()
    return Device("cpu", name, "bfloat16" if bf16 else "float32", bf16, memory.total, memory.available)


def peak_memory(device: Device) -> int:
    """The peak memory of this process, in bytes: of the GPU where there is one, else of main memory."""
    if device.kind == "cuda":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def generation_batch(device: Device, weight_bytes: int, cache_bytes_per_token: int, max_tokens: int) -> int:
    """Sequences to generate at once: a power of two up to 256 on a GPU, 32 on a processor, which is then fully used.

    Half of the memory that the weights leave holds the key-value cache: `cache_bytes_per_token` times `max_tokens`
    (prompt and response) a sequence. It counts total memory, so that a resumed run forms the same batches.
    """
    room = (device.memory_total - weight_bytes) // 2
    most = 32 if device.kind == "cpu" else 256
    return _power_of_two(room // max(1, cache_bytes_per_token * max_tokens), most)


def _power_of_two(fits: int, most: int) -> int:
    return min(most, 1 << max(0, fits.bit_length() - 1)) if fits > 0 else 1
