"""The load of this machine: processors, memory and NVIDIA GPUs, as the system and the driver report them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psutil

from engine.local import gpus
from engine.protocol.machine import Gpu, Machine

_NOBODY: Mapping[str, str] = {}


class Sampler:
    """Gives the load since the last sample; it needs no thread of its own, and one sample at a time."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """GPUs are those that CUDA shows a process with this environment; all without one."""
        self._spent = _spent()
        self._environment = environment
        self._devices: list[tuple[str, Any]] = []
        self._devices_of: object = _NOBODY

    def look_at(self, environment: Mapping[str, str]) -> None:
        """Sample other GPUs from now on: those of a process with this environment."""
        self._environment = environment

    def sample(self) -> Machine:
        """The load now; the first one loads NVIDIA's library, and may take a moment."""
        (busy, total), memory = _spent(), psutil.virtual_memory()
        passed = total - self._spent[1]
        share = (busy - self._spent[0]) / passed if passed > 0 else 0.0
        self._spent = busy, total
        load = round(100 * min(1.0, max(0.0, share)), 1)
        return Machine(load, memory.total - memory.available, memory.total, self._gpus())

    def _gpus(self) -> tuple[Gpu, ...]:
        environment = self._environment
        if self._devices_of is not environment:
            self._devices, self._devices_of = _found(environment), environment
        found = (_gpu(index, device) for index, device in self._devices)
        return tuple(gpu for gpu in found if gpu is not None)


def _found(environment: Mapping[str, str] | None) -> list[tuple[str, Any]]:
    """The GPUs by their index, with the driver's handles; without those whose name only CUDA understands."""
    seen = gpus.installed() if environment is None else gpus.visible(environment)
    named = [(gpu.index, gpu.uuid) for gpu in seen if gpu.uuid is not None]
    if not named:
        return []
    import pynvml

    found = []
    for index, uuid in named:
        try:
            found.append((index, pynvml.nvmlDeviceGetHandleByUUID(uuid)))
        except pynvml.NVMLError:  # lost since
            continue
    return found


def _gpu(index: str, device: Any) -> Gpu | None:
    """A GPU's load; None for one that reports no memory, since it is gone."""
    import pynvml as nvml

    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
    except nvml.NVMLError:
        return None
    busy = _told(nvml, lambda: float(nvml.nvmlDeviceGetUtilizationRates(device).gpu))
    power = _told(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(device) / 1000)
    celsius = _told(nvml, lambda: float(nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU)))
    return Gpu(busy, int(memory.used), int(memory.total), index, power, celsius)


def _told(nvml: Any, figure: Callable[[], float]) -> float | None:
    """A figure, None where the driver has none: instances of MIG have no load and no power of their own."""
    try:
        return round(figure(), 1)
    except nvml.NVMLError:
        return None


def _spent() -> tuple[float, float]:
    """The seconds that all processors worked since the machine started, and all of their seconds."""
    times = psutil.cpu_times()._asdict()
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)  # they are in user's, too
    return total - times["idle"] - times.get("iowait", 0.0), total
