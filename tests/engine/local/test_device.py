from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.local.device import Device, find_device, generation_batch, stage_device, unused_gpus
from engine.protocol.errors import InputError
from tests.engine.nvml import Card, Nvml

GB = 1 << 30


def gpu(memory: int) -> Device:
    return Device("cuda", "GPU", "bfloat16", True, memory, memory)


def test_this_machine_has_a_device_with_memory() -> None:
    device = find_device()
    assert 0 < device.memory_free <= device.memory_total
    assert device.bf16 == (device.dtype == "bfloat16")
    assert str(device.torch_dtype) == f"torch.{device.dtype}"


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 38), st.integers(1, 1 << 20), st.integers(1, 1 << 16))
def test_a_generation_batch_is_a_power_of_two_that_fits(memory: int, weights: int, token: int, tokens: int) -> None:
    size = generation_batch(gpu(memory), weights, token * tokens)
    assert 1 <= size <= 256 and size & (size - 1) == 0
    assert size == 1 or weights + size * token * tokens <= memory


def test_a_batch_is_as_large_as_the_memory_that_others_leave() -> None:
    shared = Device("cuda", "GPU", "bfloat16", True, 80 * GB, 10 * GB)
    assert generation_batch(shared, GB, GB // 2) == 8
    assert generation_batch(gpu(80 * GB), GB, GB // 2) == 64


def test_a_processor_is_busy_with_32_sequences() -> None:
    assert generation_batch(Device("cpu", "", "float32", False, 64 * GB, 64 * GB), GB, 1000) == 32


def test_processes_of_a_machine_share_its_memory_but_have_gpus_of_their_own() -> None:
    memory = Device("cpu", "", "float32", False, 80 * GB, 80 * GB)
    assert generation_batch(memory, GB, 8 * GB) == 4 and generation_batch(memory, GB, 8 * GB, 4) == 1
    assert generation_batch(gpu(80 * GB), GB, GB, 4) == generation_batch(gpu(80 * GB), GB, GB)


def test_a_stage_does_not_leave_gpus_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(Card(), Card()))
    with pytest.raises(InputError, match="built without CUDA, so it uses none of the 2 GPUs") as caught:
        stage_device()
    assert "pytorch.org" in caught.value.hint
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "cannot start CUDA 13.0" in unused_gpus()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert stage_device().kind == find_device().kind != "cuda"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # as the worker sets it, so that other makers' GPUs stay one
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    assert stage_device().kind == find_device().kind
