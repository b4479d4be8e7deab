"""The memory of a preset's model, from a model of its sizes without weights: the same arithmetic as for one on disk.

A whole one takes a third of a second to build. Models of one layer, one of each kind, and one of two layers tell the
rest, as memory grows by the same amount with each layer of a kind.
"""

from __future__ import annotations

import copy
from collections import Counter
from functools import cache
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from engine.estimate.machine import training_memory
from engine.local.device import Device
from engine.local.lora import add_adapter
from engine.settings.preset import Preset, load
from engine.settings.schema import Migration

EPOCHS = 3
"""Epochs after which the dev loss of a few hundred pairs has usually stopped falling."""


@cache
def skeleton(name: str) -> Skeleton:
    """The skeleton of a preset."""
    return Skeleton(load(name))


class Skeleton:
    """A preset's model and adapter without weights."""

    def __init__(self, preset: Preset) -> None:
        self._preset = preset
        self._config = _config(preset.about.config)
        kinds = preset.about.config.get("layer_types", [""] * self._text.num_hidden_layers)
        self._kinds = Counter(kinds).most_common()
        common = self._kinds[0][0]
        self._two = self._build([common, common])
        self._one = {kind: self._build([kind]) for kind, _ in self._kinds}

    def settings(self, quantization: str) -> Migration:
        """The preset's settings with one pair in a step, as a larger step is divided until it fits."""
        values = self._preset.values
        return Migration.model_validate(
            {
                "coverage": {"source": "none.jsonl"},
                "service": {"model": "none"},
                **values,
                "local": {**values["local"], "quantization": quantization},
                "finetune": {**values["finetune"], "batch_size": 1, "epochs": EPOCHS},
            }
        )

    def training(self, quantization: str, device: Device, longest: int) -> int:
        """The least bytes for training on pairs of at most `longest` tokens."""
        settings = self.settings(quantization)
        one = {kind: training_memory(model, settings, device, longest) for kind, model in self._one.items()}
        common = self._kinds[0][0]
        rest = 2 * one[common] - training_memory(self._two, settings, device, longest)  # all but the layers
        return rest + sum((one[kind] - rest) * count for kind, count in self._kinds)

    @property
    def cache_values(self) -> int:
        """The numbers that the key-value cache holds of each token."""
        text = self._text
        kinds = getattr(text, "layer_types", None) or ["attention"] * text.num_hidden_layers
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return 2 * sum("attention" in kind for kind in kinds) * int(text.num_key_value_heads) * int(width)

    @property
    def _text(self) -> Any:
        return self._config.get_text_config()

    def _build(self, kinds: list[str]) -> PeftModel:
        tables = copy.deepcopy(self._preset.about.config)
        text = tables.get("text_config", tables)
        text["num_hidden_layers"] = len(kinds)
        if "layer_types" in text:
            text["layer_types"] = kinds
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(_config(tables))
            return add_adapter(model, self.settings("none").local.adapter)


def _config(tables: dict[str, Any]) -> PreTrainedConfig:
    tables = copy.deepcopy(tables)
    config: PreTrainedConfig = AutoConfig.for_model(tables.pop("model_type"), **tables)
    return config
