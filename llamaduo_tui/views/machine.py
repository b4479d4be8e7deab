"""The load of this machine: processor, memory and NVIDIA GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Gpu:
    """`busy` in percent, memory in bytes."""

    busy: float
    used: int
    total: int


@dataclass(frozen=True, slots=True)
class Machine:
    """`busy` in percent of all processors, memory in bytes."""

    busy: float
    used: int
    total: int
    gpus: tuple[Gpu, ...] = ()


def sample() -> Machine:
    """The load since the last sample; the first loads NVIDIA's library, and may take a moment."""
    memory = psutil.virtual_memory()
    return Machine(psutil.cpu_percent(), memory.total - memory.available, memory.total, _gpus())


def _gpus() -> tuple[Gpu, ...]:
    nvml = _nvml()
    if nvml is None:
        return ()
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:
        return ()
    return tuple(gpu for index in range(count) if (gpu := _gpu(nvml, index)) is not None)


def _gpu(nvml: Any, index: int) -> Gpu | None:
    """A GPU's load; None for one that reports none, such as one split by MIG."""
    try:
        device = nvml.nvmlDeviceGetHandleByIndex(index)
        busy, memory = nvml.nvmlDeviceGetUtilizationRates(device).gpu, nvml.nvmlDeviceGetMemoryInfo(device)
    except nvml.NVMLError:
        return None
    return Gpu(float(busy), int(memory.used), int(memory.total))


@cache
def _nvml() -> Any:
    """NVIDIA's management library, ready for queries; None without it, or without a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
