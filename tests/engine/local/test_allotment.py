"""Which GPUs a stage gets and how many processes share it, by settings, environment and other people's work."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from engine.local.allotment import allot
from engine.protocol.errors import InputError
from engine.protocol.stages import COVERAGE, FINETUNE, INFER
from engine.settings.schema import Migration
from tests.engine.nvml import Card, Nvml

BUSY = Card(12)
SPLIT = Card(instances=(19, 19))
TORCHRUN = {"launcher": "torchrun"}


def settings(**compute: Any) -> Migration:
    return Migration.model_validate(
        {
            "coverage": {"source": "a.jsonl"},
            "service": {"model": "sandbox"},
            "compute": compute,
        }
    )


@pytest.mark.parametrize(
    ("cards", "compute", "environment", "processes", "names"),
    [
        ((Card(), Card(79.5)), {}, {}, 1, "GPU-b0"),
        ((Card(), BUSY), {}, {}, 1, "GPU-a0"),
        ((BUSY, Card(30)), {}, {}, 1, "GPU-b0"),
        ((BUSY, Card()), {"devices": [0]}, {}, 1, "GPU-a0"),
        ((BUSY, Card()), {"devices": ["GPU-a"]}, {}, 1, "GPU-a0"),
        ((BUSY, Card(), Card()), {"devices": [0, 2]}, {}, 1, "GPU-c0"),
        ((BUSY, Card(), Card()), TORCHRUN, {}, 2, "GPU-b0,GPU-c0"),
        ((BUSY, BUSY), TORCHRUN, {}, 1, "GPU-a0"),
        ((BUSY, Card(), Card(30)), TORCHRUN | {"processes": 2}, {}, 2, "GPU-b0,GPU-c0"),
        ((Card(), Card(), Card()), TORCHRUN, {}, 3, "GPU-a0,GPU-b0,GPU-c0"),
        ((Card(),) * 3, TORCHRUN, {"CUDA_VISIBLE_DEVICES": "2,1"}, 2, "2,1"),
        ((Card(),) * 3, {"devices": [2]}, {"CUDA_VISIBLE_DEVICES": "1,2"}, 1, "2"),
        ((Card(),) * 3, {"devices": ["GPU-c0"]}, {"CUDA_VISIBLE_DEVICES": "1,2"}, 1, "2"),
        ((Card(), Card(30, "NVIDIA A100")), {}, {"CUDA_VISIBLE_DEVICES": "1,0"}, 1, "1"),
        ((SPLIT,), TORCHRUN, {}, 1, "MIG-a0"),
        ((Card(),), {}, {"CUDA_VISIBLE_DEVICES": ""}, 1, None),
        ((), {}, {}, 1, "0"),
        ((), {}, {"HIP_VISIBLE_DEVICES": "3"}, 1, None),
        ((), {}, {"CUDA_VISIBLE_DEVICES": "2,3"}, 1, "2"),
        ((), TORCHRUN | {"processes": 4}, {}, 4, None),
        ((), TORCHRUN, {}, None, None),
    ],
)
def test_training(
    cards: tuple[Card, ...],
    compute: dict[str, Any],
    environment: dict[str, str],
    processes: int | None,
    names: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(*cards))
    allotted = allot(settings(**compute), FINETUNE, environment)
    assert (allotted.processes, allotted.environment.get("CUDA_VISIBLE_DEVICES")) == (processes, names)
    if cards and names:
        assert allotted.reason.startswith("uses GPU")


def test_answering_takes_all_gpus_instances_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(Card(), Card(), SPLIT))
    allotted = allot(settings(**TORCHRUN), INFER, {})
    assert allotted.processes == 4 and allotted.environment["CUDA_VISIBLE_DEVICES"] == "GPU-a0,GPU-b0,MIG-c0,MIG-c1"


def test_a_stage_that_is_not_shared_sees_one_gpu_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(BUSY, Card()))
    allotted = allot(settings(**TORCHRUN), COVERAGE, {})
    assert allotted.processes == 1 and allotted.environment["CUDA_VISIBLE_DEVICES"] == "GPU-b0" and not allotted.reason


def test_the_reason_names_the_gpus_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(BUSY, Card()))
    assert allot(settings(), FINETUNE, {}).reason == (
        "uses GPU 1 (NVIDIA H100, 79.0 of 80.0 GiB free): free; not used: GPU 0 (NVIDIA H100, 12.0 of 80.0 GiB free)"
    )


@pytest.mark.parametrize(
    ("cards", "compute", "message"),
    [
        ((Card(),), {"devices": [1]}, "compute.devices: no GPU 1; there are GPU 0"),
        ((Card(),), {"devices": ["GPU-b"]}, "compute.devices: no GPU GPU-b; there are GPU 0"),
        ((), {"devices": [0]}, "no NVIDIA GPU can be seen: the driver reports none"),
        ((Card(),), TORCHRUN | {"processes": 2}, "2 processes need as many GPUs, and 1 can be used"),
        (
            (Card(),) * 3,
            TORCHRUN | {"processes": 2, "devices": [1]},
            "2 processes need as many GPUs, and 1 can be used",
        ),
    ],
)
def test_what_is_refused(
    cards: tuple[Card, ...], compute: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(*cards))
    with pytest.raises(InputError) as refused:
        allot(settings(**compute), FINETUNE, {})
    assert message in refused.value.message and refused.value.hint
