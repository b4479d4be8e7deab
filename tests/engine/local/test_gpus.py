"""The GPUs that a process sees, by what CUDA_VISIBLE_DEVICES says and the driver reports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.local.gpus import GIB, installed, visible
from tests.engine.nvml import Card, Nvml

A100 = Card(30, "NVIDIA A100")


@pytest.mark.parametrize(
    ("cards", "environment", "seen"),
    [
        ((Card(), Card(20)), {}, [("GPU-a0", "0", 79), ("GPU-b0", "1", 20)]),
        ((Card(), Card(20)), {"CUDA_VISIBLE_DEVICES": "1,0"}, [("1", "1", 20), ("0", "0", 79)]),
        ((Card(), Card(20)), {"CUDA_VISIBLE_DEVICES": " GPU-b , 0"}, [("GPU-b", "1", 20), ("0", "0", 79)]),
        ((Card(), Card(20)), {"CUDA_VISIBLE_DEVICES": "1,-1,0"}, [("1", "1", 20)]),
        ((Card(), Card(20)), {"CUDA_VISIBLE_DEVICES": "1,7,0"}, [("1", "1", 20)]),
        ((Card(), Card(20)), {"CUDA_VISIBLE_DEVICES": "GPU-"}, []),
        ((Card(), Card(20)), {"CUDA_VISIBLE_DEVICES": ""}, []),
        ((Card(), A100), {"CUDA_VISIBLE_DEVICES": "1"}, [("1", "1", None)]),
        ((Card(), A100), {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [("1", "1", 30)]),
        (
            (Card(), Card(instances=(19, 5))),
            {},
            [("GPU-a0", "0", 79), ("MIG-b0", "1:0", 19), ("MIG-b1", "1:1", 5)],
        ),
        ((Card(), Card(instances=(19, 5))), {"CUDA_VISIBLE_DEVICES": "MIG-b1"}, [("MIG-b1", "1:1", 5)]),
        ((Card(instances=(None, 19, None, 5)),), {}, [("MIG-a1", "0:0", 19), ("MIG-a3", "0:1", 5)]),
        ((Card(mig=True), Card()), {}, [("GPU-b0", "1", 79)]),
        ((Card(), Card()), {"CUDA_VISIBLE_DEVICES": "0,0"}, []),
        ((Card(), Card()), {"CUDA_VISIBLE_DEVICES": "1,GPU-b0"}, []),
        ((), {}, []),
        ((), {"CUDA_VISIBLE_DEVICES": "2,3"}, [("2", "2", None), ("3", "3", None)]),
        ((), {"CUDA_VISIBLE_DEVICES": "-1"}, []),
    ],
)
def test_what_a_process_sees(
    cards: tuple[Card, ...],
    environment: dict[str, str],
    seen: list[tuple[str, str, float | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(*cards))
    found = visible(environment)
    assert [(gpu.name, gpu.index, gpu.free and gpu.free / GIB) for gpu in found] == seen
    assert [gpu.is_instance for gpu in found] == [":" in index for _, index, _ in seen]


@pytest.mark.parametrize("library", [None, Nvml(Card(), driver=False)])
def test_without_a_driver_there_are_none(library: Nvml | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert installed() == []


def test_choosing_loads_no_torch() -> None:
    code = (
        "import os, sys, engine.worker.launchers\nfrom engine.local.gpus import visible\n"
        "visible(os.environ)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
