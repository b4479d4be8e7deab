"""The load of this machine: processor, memory and graphics cards."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

import psutil

_QUERY = "--query-gpu=utilization.gpu,memory.used,memory.total"
_TIMEOUT_S = 5.0
_MIB = 1024**2


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
    """The load since the last sample; nvidia-smi takes a good part of a second."""
    memory = psutil.virtual_memory()
    return Machine(psutil.cpu_percent(), memory.total - memory.available, memory.total, _gpus())


def _gpus() -> tuple[Gpu, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    try:
        result = subprocess.run(
            ["nvidia-smi", _QUERY, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(gpu for line in result.stdout.splitlines() if (gpu := _gpu(line)) is not None)


def _gpu(line: str) -> Gpu | None:
    """A line such as "37, 10240, 81559"; None for "[N/A]" and other words."""
    try:
        busy, used, total = (float(value) for value in line.split(","))
    except ValueError:
        return None
    return Gpu(busy, int(used * _MIB), int(total * _MIB))
