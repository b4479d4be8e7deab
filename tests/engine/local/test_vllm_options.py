from __future__ import annotations

from types import SimpleNamespace

import pytest

from engine.local import vllm_options
from engine.local.gpus import Gpu
from engine.local.vllm_options import lora_rank, memory_share

GIB = 2**30


def gpu(free: int | None) -> Gpu:
    return Gpu("0", "0", free=free and free * GIB, total=80 * GIB)


@pytest.mark.parametrize(
    ("gpus", "share"),
    [([gpu(80)], "0.90"), ([gpu(80), gpu(40)], "0.47"), ([gpu(None)], "0.90"), ([gpu(0)], "0.01"), ([], "0.35")],
)
def test_vllm_gets_what_is_free(gpus: list[Gpu], share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_options, "installed", lambda: gpus)
    monkeypatch.setattr(vllm_options, "visible", lambda _: gpus or [gpu(None)])
    monkeypatch.setattr(vllm_options.psutil, "virtual_memory", lambda: SimpleNamespace(available=12, total=24))
    assert memory_share() == ["--gpu-memory-utilization", share]


@pytest.mark.parametrize("own", ["--gpu-memory-utilization", "--gpu_memory_utilization=0.5"])
def test_a_share_of_the_users_stays(own: str) -> None:
    assert memory_share([own]) == []


def test_the_rank_is_one_that_vllm_has() -> None:
    assert [lora_rank(rank) for rank in (1, 8, 9, 512)] == [8, 8, 16, 512]
