"""GPU figures come from NVIDIA's library, which a stand-in module is here; without it or a driver there are none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from llamaduo_tui.views import machine
from llamaduo_tui.views.machine import Gpu

GIB = 1024**3


class Nvml(ModuleType):
    """Two GPUs, the second split by MIG; `problem` is what initialising raises."""

    class NVMLError(Exception):
        pass

    def __init__(self, problem: str = "") -> None:
        super().__init__("pynvml")
        self.problem = problem
        self.starts = 0
        self.count = 2

    def nvmlInit(self) -> None:  # noqa: N802 - as the library calls it
        self.starts += 1
        if self.problem:
            raise self.NVMLError(self.problem)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.count < 0:
            raise self.NVMLError("GPU is lost")
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:  # noqa: N802
        if device == 1:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=37, memory=12)

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:  # noqa: N802
        return SimpleNamespace(total=80 * GIB, free=70 * GIB, used=10 * GIB)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """A process that has not sampled yet."""
    machine._nvml.cache_clear()
    yield
    machine._nvml.cache_clear()


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    stand_in = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    return stand_in


def test_gpus_that_report_their_load_are_shown(nvml: Nvml) -> None:
    assert machine.sample().gpus == (Gpu(37.0, 10 * GIB, 80 * GIB),)
    assert machine.sample().gpus == (Gpu(37.0, 10 * GIB, 80 * GIB),)
    assert nvml.starts == 1


def test_a_driver_that_fails_later_leaves_the_rest(nvml: Nvml) -> None:
    nvml.count = -1
    sampled = machine.sample()
    assert sampled.gpus == () and sampled.total > sampled.used > 0


def test_without_a_driver_there_are_no_gpus_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in = Nvml("Shared Library Not Found")
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    assert machine.sample().gpus == machine.sample().gpus == ()
    assert stand_in.starts == 1, "it is not tried again with every sample"
    assert capfd.readouterr() == ("", "")


def test_without_the_library_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine.sample().gpus == ()


def test_the_library_is_not_loaded_at_start_up() -> None:
    code = "import sys, llamaduo_tui.app, llamaduo_tui.views.machine; print('pynvml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
