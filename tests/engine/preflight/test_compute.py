"""What pre-flight says about GPUs and clusters, with a driver that is a stand-in."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from engine.preflight.compute import Resources
from engine.settings.schema import Migration
from tests.engine.nvml import GIB, Card, Nvml
from tests.engine.preflight.estimates import estimate

TORCHRUN = {"launcher": "torchrun"}
EIGHT_B = replace(
    estimate(),
    parameters=8 * 10**9,
    memory_bytes=30 * GIB,
    memory_free_bytes=23 * GIB,
    layers_bytes=16 * GIB,
    layer_bytes=GIB // 2,
)


def resources(nf4: bool = False, **compute: Any) -> Resources:
    tables = {"compute": compute, "local": {"quantization": "nf4" if nf4 else "none"}}
    given = {"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox"}}
    return Resources(Migration.model_validate(given | tables), {})


@pytest.fixture(autouse=True)
def cards(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """No GPU, until a test puts cards in."""
    stand_in = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "before")
    monkeypatch.setattr("engine.local.device.find_device", lambda: SimpleNamespace(kind="cpu"))
    return stand_in


@pytest.mark.parametrize(
    ("compute", "messages"),
    [
        ({}, []),
        (TORCHRUN, ["torchrun starts one process per GPU, and this machine has none"]),
        (TORCHRUN | {"processes": 2}, []),
        (TORCHRUN | {"processes": 2, "strategy": "fsdp"}, ['"fsdp" needs GPUs']),
        ({"devices": [0]}, ["no NVIDIA GPU can be seen"]),
    ],
)
def test_without_a_gpu(compute: dict[str, Any], messages: list[str]) -> None:
    found = list(resources(**compute).problems())
    assert len(found) == len(messages)
    assert all(text in problem.message and problem.hint for text, problem in zip(messages, found, strict=True))
    assert list(resources(**compute).notes()) == []


def test_gpus_that_are_used_are_told_with_the_reason(cards: Nvml) -> None:
    cards.cards = (Card(12), Card(), Card(), Card())
    assert list(resources().problems()) == []
    (note,) = resources().notes()
    assert note.startswith("uses GPU 1 (NVIDIA H100, 79.0 of 80.0 GiB free): free; not used: GPU 0 (NVIDIA H100, 12.0")
    (note,) = resources(**TORCHRUN).notes()
    assert note.startswith("uses GPU 1 ") and note.endswith("not used: GPU 0 (NVIDIA H100, 12.0 of 80.0 GiB free)")
    cards.cards = (Card(instances=(19, 18)),)
    training, answering = resources(**TORCHRUN).notes()
    assert training.startswith("training uses GPU 0:0 (") and "NCCL" in training and "not used: GPU 0:1" in training
    assert answering.startswith("answering uses GPU 0:0 (") and "GPU 0:1" in answering and "NCCL" not in answering


def test_the_check_measures_the_gpu_that_training_will_use(cards: Nvml) -> None:
    resources().use()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "before", "nothing changes without GPUs"
    cards.cards = (Card(12), Card())
    resources().use()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-b0"


def test_nf4_weights_are_not_shared(cards: Nvml) -> None:
    cards.cards = (Card(), Card())
    (problem,) = resources(nf4=True, strategy="fsdp", **TORCHRUN).problems()
    assert "nf4" in problem.message and "ddp" in problem.hint


def test_ray_that_is_missing_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (problem,) = resources(launcher="ray").problems()
    assert "not installed" in problem.message and "pip install 'llamaduo-tui[ray]'" in problem.hint


@pytest.mark.parametrize(
    ("number", "nf4", "compute", "said", "hinted"),
    [
        (1, False, {}, "needs about 30.0 GiB", "set local.quantization"),
        (1, True, {}, "needs about 30.0 GiB", "set local.quantization"),
        (2, False, {}, "needs about 30.0 GiB", "share the weights between 2 GPUs, 23.0 GiB on each"),
        (2, True, {}, "needs about 30.0 GiB", "set local.quantization"),
        (2, False, TORCHRUN | {"strategy": "fsdp"}, "", ""),
        (1, False, TORCHRUN | {"strategy": "fsdp"}, "needs about 30.0 GiB", "set local.quantization"),
    ],
)
def test_a_model_that_fits_only_on_several_gpus(
    number: int, nf4: bool, compute: dict[str, Any], said: str, hinted: str, cards: Nvml
) -> None:
    cards.cards = (Card(),) * number
    found = list(resources(nf4, **compute).memory_problems(EIGHT_B))
    assert len(found) == bool(said)
    assert all(said in problem.message and problem.hint.startswith(hinted) for problem in found)


def test_answers_that_do_not_fit_are_told_beside_training(cards: Nvml) -> None:
    needs = replace(estimate(), answering_bytes=20 * GIB)
    (problem,) = resources().memory_problems(needs)
    assert "answering needs about 20.0 GiB" in problem.message and "16.0 GiB free" in problem.message
    assert not list(resources().memory_problems(replace(needs, answering_bytes=15 * GIB)))
