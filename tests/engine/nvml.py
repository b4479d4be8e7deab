"""A stand-in for NVIDIA's library, at the edge to the driver: GPUs of a table, some split by MIG."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """A GPU of 80 GiB, of which `free` GiB are free; `instances` are the free GiB of its MIG instances of 20 GiB.

    None among them is a gap; `mig` is on where there is one, and may be on without any.
    """

    free: float = 79.0
    model: str = "NVIDIA H100"
    instances: tuple[float | None, ...] = ()
    mig: bool = False


class Nvml(ModuleType):
    """The module `pynvml`; devices are numbers, those of instances pairs."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, *cards: Card, driver: bool = True) -> None:
        super().__init__("pynvml")
        self.cards, self.driver = cards, driver
        self.lost: set[int] = set()

    def nvmlInit(self) -> None:  # noqa: N802 - as the library calls it
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        return (index, None)

    def nvmlDeviceGetMigMode(self, device: Any) -> tuple[int, int]:  # noqa: N802
        on = self.cards[device[0]].mig or bool(self.cards[device[0]].instances)
        return on, on

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Any) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Any, number: int) -> Any:  # noqa: N802
        instances = self.cards[device[0]].instances
        if number >= len(instances) or instances[number] is None:
            raise self.NVMLError("Not Found")
        return (device[0], number)

    def nvmlDeviceGetMemoryInfo(self, device: Any) -> Any:  # noqa: N802
        index, number = device
        if index in self.lost:
            raise self.NVMLError("GPU is lost")
        card = self.cards[index]
        free, total = (card.free, 80) if number is None else (card.instances[number] or 0, 20)
        return SimpleNamespace(free=int(free * GIB), total=total * GIB, used=int((total - free) * GIB))

    def nvmlDeviceGetName(self, device: Any) -> bytes:  # noqa: N802
        return self.cards[device[0]].model.encode()

    def nvmlDeviceGetUUID(self, device: Any) -> str:  # noqa: N802
        index, number = device
        return f"GPU-{'abcdef'[index]}0" if number is None else f"MIG-{'abcdef'[index]}{number}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802
        index, number = "abcdef".index(uuid[4]), int(uuid[5:])
        return (index, None) if uuid.startswith("GPU") else (index, number)

    def nvmlDeviceGetUtilizationRates(self, device: Any) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self._whole(device, 37), memory=12)

    def nvmlDeviceGetPowerUsage(self, device: Any) -> int:  # noqa: N802
        return self._whole(device, 250_500)

    def nvmlDeviceGetTemperature(self, device: Any, sensor: int) -> int:  # noqa: N802
        return self._whole(device, 61)

    def _whole(self, device: Any, figure: int) -> int:
        """A figure that instances of MIG don't have."""
        if device[1] is not None:
            raise self.NVMLError("Not Supported")
        return figure
