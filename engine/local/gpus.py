"""The NVIDIA GPUs that this machine has, as the driver reports them; torch is not loaded and no GPU is initialised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

VISIBLE = "CUDA_VISIBLE_DEVICES"
GIB = 2**30


class Gpu(msgspec.Struct, frozen=True):
    """A GPU, or an instance of one that MIG splits.

    `name` is what CUDA_VISIBLE_DEVICES calls it, `index` what people and nvidia-smi do ("0", or "0:1" for an instance).
    `model`, memory in bytes and the `uuid` are None where the driver can't tell which GPU a name means.
    """

    name: str
    index: str
    model: str | None = None
    free: int | None = None
    total: int | None = None
    uuid: str | None = None

    @property
    def is_instance(self) -> bool:
        """Whether it is an instance of MIG."""
        return ":" in self.index

    def __str__(self) -> str:
        if self.free is None or self.total is None:
            return f"GPU {self.index}"
        return f"GPU {self.index} ({self.model}, {self.free / GIB:.1f} of {self.total / GIB:.1f} GiB free)"


def installed() -> list[Gpu]:
    """All GPUs in the driver's order, MIG's instances instead of the GPU that they split; none without a driver."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return []
    gpus = []
    for index in range(count):
        try:
            gpus += _gpu(pynvml, index)
        except pynvml.NVMLError:  # one that is lost, or not ours to see
            continue
    return gpus


def visible(environment: Mapping[str, str]) -> list[Gpu]:
    """The GPUs that CUDA shows a process with this environment, in CUDA's order where it is given.

    As CUDA does, names behind the first invalid one are ignored.
    """
    gpus, listed = installed(), environment.get(VISIBLE)
    if listed is None:
        return gpus
    found = []
    for name in filter(None, map(str.strip, listed.split(","))):
        gpu = _listed(name, gpus, environment) if gpus else _unknown(name)
        if gpu is None:
            break
        found.append(gpu)
    # One that is listed twice hides all from CUDA.
    return found if len({gpu.uuid or gpu.name for gpu in found}) == len(found) else []


def named(name: str, gpus: list[Gpu]) -> Gpu | None:
    """The GPU of a UUID, or of the beginning of one, as CUDA accepts it."""
    found = [gpu for gpu in gpus if gpu.uuid is not None and gpu.uuid.startswith(name)]
    return found[0] if len(found) == 1 else None


def _listed(name: str, gpus: list[Gpu], environment: Mapping[str, str]) -> Gpu | None:
    """The GPU that CUDA means by a name; one without figures where only CUDA knows the order of different GPUs.

    It keeps its name as given, for that is what a child's environment must say again.
    """
    if not name.isdecimal():
        found = named(name, gpus)
    else:
        found = next((gpu for gpu in gpus if gpu.index.partition(":")[0] == name), None)
        ordered = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.model for gpu in gpus}) == 1
        if found is not None and not ordered:
            return Gpu(name, name)
    return None if found is None else replace(found, name=name)


def _unknown(name: str) -> Gpu | None:
    """A GPU that the driver doesn't know: without NVIDIA's library, CUDA_VISIBLE_DEVICES is all there is."""
    return None if name.startswith("-") else Gpu(name, name)


def _gpu(nvml: Any, index: int) -> list[Gpu]:
    device = nvml.nvmlDeviceGetHandleByIndex(index)
    instances = _instances(nvml, device)
    if instances is not None:  # without an instance CUDA can't use a GPU that is to be split
        return [_described(nvml, instance, f"{index}:{number}") for number, instance in enumerate(instances)]
    return [_described(nvml, device, str(index))]


def _instances(nvml: Any, device: Any) -> list[Any] | None:
    """The instances that MIG splits a GPU into; None where it is off or unknown to the GPU."""
    instances = []
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(device)
        if not current:
            return None
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(device)
    except nvml.NVMLError:
        return None
    for number in range(count):
        try:
            instances.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, number))
        except nvml.NVMLError:  # there are fewer than there may be, and gaps between them
            continue
    return instances


def _described(nvml: Any, device: Any, index: str) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(device)
    name, uuid = nvml.nvmlDeviceGetName(device), nvml.nvmlDeviceGetUUID(device)
    return Gpu(_text(uuid), index, _text(name), int(memory.free), int(memory.total), _text(uuid))


def _text(value: str | bytes) -> str:
    """Older versions of the library return bytes."""
    return value.decode() if isinstance(value, bytes) else value
