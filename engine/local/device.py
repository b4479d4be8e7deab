"""The device of the local LLM, and the batch sizes that fit on it."""

from __future__ import annotations

import os
import platform
import resource
import sys
from dataclasses import dataclass
from typing import Literal

import psutil
import torch

from engine.local.gpus import installed, visible
from engine.protocol.errors import InputError

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


def number_format() -> DtypeName:
    """The `dtype` of `find_device`, which takes no memory of a GPU."""
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return find_device().dtype


def processor() -> Device:
    """The processor, with the number format of the device that `find_device` finds."""
    memory, dtype = psutil.virtual_memory(), number_format()
    name = platform.processor() or platform.machine()
    return Device("cpu", name, dtype, dtype == "bfloat16", memory.total, memory.available)


def find_device() -> Device:
    """The first CUDA GPU, else Apple's, else the processor."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        dtype = number_format()
        return Device("cuda", torch.cuda.get_device_name(), dtype, dtype == "bfloat16", total, free)
    memory = psutil.virtual_memory()
    if torch.backends.mps.is_available():
        bf16 = torch.backends.mps.is_macos_or_newer(14, 0)
        name = platform.processor() or "Apple GPU"
        return Device("mps", name, "bfloat16" if bf16 else "float32", bf16, memory.total, memory.available)
    # Emulated bfloat16 is slower than float32, so only the instructions count.
    bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    name = platform.processor() or platform.machine()
    return Device("cpu", name, "bfloat16" if bf16 else "float32", bf16, memory.total, memory.available)


def stage_device() -> Device:
    """The device for a stage. Raises InputError where the driver lists GPUs for it, and torch can use none."""
    device = find_device()
    if device.kind != "cuda" and (lost := unused_gpus()):
        raise InputError(lost, USE_GPUS)
    return device


def unused_gpus() -> str:
    """What keeps torch from the GPUs that the driver lists for this process; "" where nothing does."""
    gpus = visible(os.environ) if installed() else []  # without a driver, the variable alone shows no GPU
    if not gpus or torch.cuda.is_available():
        return ""
    cause = "is built without CUDA" if torch.version.cuda is None else f"cannot start CUDA {torch.version.cuda}"
    return f"torch {torch.__version__} {cause}, so it uses none of the {len(gpus)} GPUs that the driver lists"


USE_GPUS = (
    "install a torch that fits the driver, as pytorch.org/get-started says; "
    'to use the processor, set CUDA_VISIBLE_DEVICES="" and resume'
)


def peak_memory(device: Device) -> int:
    """The peak memory of this process, in bytes: of the GPU where there is one, else of main memory."""
    if device.kind == "cuda":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def generation_bytes(
    *,
    cache_values: int,
    hidden: int,
    vocabulary: int,
    itemsize: int,
    prompt_tokens: int,
    max_new_tokens: int,
) -> int:
    """Bytes of one sequence while it is generated, in addition to the weights: at most, for the longest response.

    `cache_values` are the numbers that the key-value cache holds of a token. A growing cache is copied layer by layer,
    reading the prompt takes about 12 * hidden numbers a token at its widest, and a step handles the logits four times
    in float32: as they are, as probabilities, and in two copies between.
    """
    cache = cache_values * itemsize * (prompt_tokens + max_new_tokens)
    return cache + cache // 8 + 12 * hidden * itemsize * prompt_tokens + 4 * 4 * vocabulary


def generation_batch(device: Device, weight_bytes: int, sequence_bytes: int, processes: int = 1) -> int:
    """Sequences to generate at once: a power of two up to 256 on a GPU, 32 on a processor, which is then fully used.

    They get 80 % of the memory that was free before the weights were loaded, less the weights. Main memory is divided
    by the `processes` of this machine; each has a GPU of its own.
    """
    share = 1 if device.kind == "cuda" else processes
    room = device.memory_free * 4 // 5 // share - weight_bytes
    most = 32 if device.kind == "cpu" else 256
    return _power_of_two(room // max(1, sequence_bytes), most)


def _power_of_two(fits: int, most: int) -> int:
    return min(most, 1 << max(0, fits.bit_length() - 1)) if fits > 0 else 1
