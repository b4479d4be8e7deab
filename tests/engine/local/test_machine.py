"""The load of processors is that since the last sample; GPU figures come from NVIDIA's library, a stand-in here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from engine.local.machine import Sampler
from engine.protocol.machine import Gpu
from tests.engine.nvml import GIB, Card, Nvml

Install = Callable[..., Nvml]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(*cards: Card, driver: bool = True) -> Nvml:
        stand_in = Nvml(*cards, driver=driver)
        monkeypatch.setitem(sys.modules, "pynvml", stand_in)
        return stand_in

    return install


def times(**seconds: float) -> Any:
    return SimpleNamespace(_asdict=lambda: seconds)


def test_the_load_is_the_share_since_the_last_sample(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    install(driver=False)
    now = iter(
        (
            times(user=10.0, system=0.0, idle=90.0, iowait=0.0, guest=4.0),
            times(user=13.0, system=0.0, idle=96.0, iowait=1.0, guest=4.0),
            times(user=13.0, system=0.0, idle=96.0, iowait=1.0, guest=4.0),
        )
    )
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(now))
    sampler = Sampler()
    assert sampler.sample().busy == 30.0
    assert sampler.sample().busy == 0.0, "no time has passed"


def test_gpus_are_those_of_the_run_and_their_order_is_the_drivers(install: Install) -> None:
    install(Card(70), Card(10))
    every = Sampler().sample().gpus
    assert every == (Gpu(37.0, 10 * GIB, 80 * GIB, "0", 250.5, 61.0), Gpu(37.0, 70 * GIB, 80 * GIB, "1", 250.5, 61.0))
    sampler = Sampler({"CUDA_VISIBLE_DEVICES": ""})
    assert sampler.sample().gpus == ()
    sampler.look_at({"CUDA_VISIBLE_DEVICES": "GPU-b0"})
    assert sampler.sample().gpus == every[1:]


def test_instances_of_mig_have_memory_and_no_load(install: Install) -> None:
    install(Card(instances=(5.0, None, 15.0)))
    assert Sampler().sample().gpus == (Gpu(None, 15 * GIB, 20 * GIB, "0:0"), Gpu(None, 5 * GIB, 20 * GIB, "0:1"))


def test_a_gpu_that_is_lost_later_leaves_the_rest(install: Install) -> None:
    nvml = install(Card(70), Card(10))
    sampler = Sampler()
    assert len(sampler.sample().gpus) == 2
    nvml.lost.add(0)
    assert [gpu.index for gpu in sampler.sample().gpus] == ["1"]


def test_without_a_driver_or_its_library_there_are_no_gpus_and_nothing_is_printed(
    install: Install, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(Card(), driver=False)
    sampled = Sampler({"CUDA_VISIBLE_DEVICES": "0"}).sample()
    assert sampled.gpus == () and sampled.total > sampled.used > 0
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Sampler().sample().gpus == ()
    assert capfd.readouterr() == ("", "")
