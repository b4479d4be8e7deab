"""The memory of presets' models is that of the models as they are built."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from engine.estimate.machine import training_memory
from engine.local.device import Device
from engine.local.lora import add_adapter
from engine.preflight.skeletons import skeleton
from engine.settings import preset

GPU = Device("cuda", "A GPU", "bfloat16", True, 80 * 2**30, 80 * 2**30)


def built(name: str) -> PreTrainedModel:
    """The whole model, without memory for its weights."""
    config = dict(preset.load(name).about.config)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config.pop("model_type"), **config)
        )
    return model


@pytest.mark.parametrize("name", preset.names())
def test_a_preset_has_the_parameters_of_its_model(name: str) -> None:
    assert sum(parameter.numel() for parameter in built(name).parameters()) == preset.load(name).about.parameters


@pytest.mark.parametrize("name", ["smollm2-135m", "lfm2-350m"])
def test_few_layers_tell_the_memory_of_all(name: str) -> None:
    settings = skeleton(name).settings("none")
    with torch.device("meta"):
        adapted = add_adapter(built(name), settings.local.adapter)
    whole = training_memory(adapted, settings, GPU, 500)
    assert skeleton(name).training("none", GPU, 500) == pytest.approx(whole, abs=2)


def test_the_cache_counts_layers_with_attention_alone() -> None:
    assert skeleton("qwen3-0.6b").cache_values == 2 * 28 * 8 * 128
    assert skeleton("lfm2-350m").cache_values == 2 * 6 * 8 * 64
