"""Which presets fit a machine and suit some data, for machines and data of every kind."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from engine.estimate.machine import Speed
from engine.local.device import Device
from engine.preflight.advice import advise
from engine.preflight.needs import Needs
from engine.preflight.report import ModelAdvice, ModelChoice
from engine.settings import preset

GIB = 2**30
NAMES = (
    *("smollm2-135m", "gemma-3-1b", "llama-3.2-1b-instruct", "lfm2-1.2b", "smollm2-1.7b", "qwen3-1.7b"),
    *("granite-4-micro", "phi-4-mini", "qwen3-4b", "qwen3-8b", "gemma-2b"),
)
PRESETS = [preset.load(name) for name in NAMES]
GPU_SPEED, CPU_SPEED = Speed(3e14, 1e12), Speed(2e11, 1e10)
DATA = Needs(pairs=300, longest=900, mean=250.0, tools=0, calls=0, languages={"en": 1.0})


def gpu(gib: float) -> Device:
    return Device("cuda", "A GPU", "bfloat16", True, int(gib * GIB), int(gib * GIB))


def cpu(gib: float) -> Device:
    return Device("cpu", "A box", "bfloat16", True, int(gib * GIB), int(gib * GIB))


def choice(device: Device, needs: Needs | None = DATA) -> ModelChoice:
    speed = GPU_SPEED if device.kind == "cuda" else CPU_SPEED
    return advise(PRESETS, device, speed, needs)


def found(device: Device, needs: Needs | None = DATA) -> dict[str, ModelAdvice]:
    return {model.name: model for model in choice(device, needs).models}


def test_on_a_large_gpu_the_largest_without_a_licence_to_accept_comes_first() -> None:
    models = choice(gpu(80))
    assert models.first is not None and models.first.name == "qwen3-8b"
    assert models.first.reason.endswith("the largest that takes under an hour and has no licence to accept first")
    assert not models.named("large")
    assert models.sentences[0].startswith("try first: qwen3-8b (training takes ")


def test_what_fits_in_4_bits_alone_says_which_setting_to_change() -> None:
    known = found(gpu(80))["qwen3-4b"]
    models = found(gpu((known.training_bytes + known.nf4_bytes) / 2 / GIB))
    assert models["qwen3-4b"].advice in ("first", "fits")
    assert 'in 4 bits, set local.quantization to "nf4": 16 bits take' in models["qwen3-4b"].reason
    assert "4 bits" not in models["lfm2-1.2b"].reason


def test_on_a_processor_4_bits_are_not_proposed_and_large_models_are_slow_or_too_large() -> None:
    models = found(cpu(16))
    assert all("nf4" not in model.reason for model in models.values())
    assert models["qwen3-8b"].advice == "large" and "16.0 GiB are free" in models["qwen3-8b"].reason
    assert models["smollm2-1.7b"].advice == "slow" and "a round takes about" in models["smollm2-1.7b"].reason
    assert models["smollm2-135m"].advice in ("first", "fits")


def test_where_all_are_slow_the_fastest_comes_first() -> None:
    models = choice(cpu(16), replace(DATA, pairs=50_000))
    assert models.first is not None and models.first.name == "smollm2-135m"
    assert "; the fastest" in models.first.reason


def test_a_machine_without_memory_has_nothing_to_try() -> None:
    models = choice(cpu(0.1))
    assert models.first is None
    assert models.sentences == [
        "no preset fits this machine and suits this data: llamaduo-tui presets gives the reasons"
    ]


@pytest.mark.parametrize(
    ("needs", "unsuited", "suited", "reason"),
    [
        ({"longest": 9_000}, "smollm2-1.7b", "qwen3-1.7b", "the longest pair has about 9,000 tokens"),
        ({"tools": 100, "calls": 100}, "lfm2-1.2b", "qwen3-1.7b", "no calls of tools, which 100 of 300 pairs have"),
        ({"tools": 100, "calls": 0}, "phi-4-mini", "lfm2-1.2b", "no tools, which 100 of 300 pairs have"),
        ({"languages": {"ja": 0.4, "en": 0.6}}, "llama-3.2-1b-instruct", "granite-4-micro", "names no ja (40%)"),
        ({"languages": {"sw": 1.0}}, "granite-4-micro", "qwen3-1.7b", "names no sw (100%)"),
        ({}, "gemma-2b", "gemma-3-1b", "a base model"),
    ],
)
def test_what_the_data_asks_for_rules_models_out(
    needs: dict[str, Any], unsuited: str, suited: str, reason: str
) -> None:
    models = found(gpu(24), replace(DATA, **needs))
    assert models[unsuited].advice == "unsuited" and reason in models[unsuited].reason
    assert models[suited].advice in ("first", "fits")


def test_few_pairs_with_tools_rule_nothing_out() -> None:
    models = found(gpu(24), replace(DATA, tools=10, calls=10))
    assert models["smollm2-1.7b"].advice == "fits"


def test_without_data_the_assumption_is_said() -> None:
    assert choice(gpu(24), None).data == "none given; assumed: 200 pairs, the longest 1,024 tokens"
