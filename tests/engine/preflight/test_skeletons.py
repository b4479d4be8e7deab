"""The memory of presets' models is that of the models as they are built."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from engine.local.device import Device
from engine.local.lora import add_adapter
from engine.preflight.machine import training_memory
from engine.preflight.skeletons import skeleton
from engine.settings import preset

GPU = Device("cuda", "A GPU", "bfloat16", True, 80 * 2**30, 80 * 2**30)


@pytest.mark.parametrize("name", ["smollm2-360m", "qwen3-8b", "gemma-3-270m", "lfm2-350m", "phi-4-mini"])
def test_few_layers_tell_the_memory_of_all(name: str) -> None:
    found = preset.load(name)
    settings = skeleton(name).settings("none")
    config = {key: value for key, value in found.about.config.items() if key != "model_type"}
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(AutoConfig.for_model(found.about.config["model_type"], **config))
        assert sum(parameter.numel() for parameter in whole.parameters()) == found.about.parameters
        adapted = add_adapter(whole, settings.local.adapter)
    assert skeleton(name).training("none", GPU, 500) == training_memory(adapted, settings, GPU, 500)


def test_the_cache_counts_layers_with_attention_alone() -> None:
    assert skeleton("qwen3-0.6b").cache_values == 2 * 28 * 8 * 128
    assert skeleton("lfm2-350m").cache_values == 2 * 6 * 8 * 64
