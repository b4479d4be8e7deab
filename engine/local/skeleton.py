"""A model without memory for its weights, and the comparison of its tensors with those that a checkpoint has.

The comparison is transformers' own: a checkpoint of tensors without contents goes through the code that loads real
ones, with its renamings, fused experts and tied weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils.logging import disable_progress_bar

from engine.local.checkpoint import Checkpoint, Tensor
from engine.local.differences import conversion_errors, refuse_differences
from engine.local.quantised import is_bnb_4bit, packed_sizes, usable_checkpoint
from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import loading_errors, trusts_remote_code
from engine.protocol.errors import InputError
from engine.settings.local import Local

_NEEDS_IMAGES = ("llama4",)
"""Multimodal models whose code fails without an image."""


def skeleton(resolved: ResolvedModel, local: Local) -> PreTrainedModel:
    """The model on the meta device. Raises InputError where a load of its weights would not give exactly that model.

    Reads config.json and the headers of the weights: no weight is loaded, and none is made up.
    """
    checkpoint = usable_checkpoint(resolved, local)
    config = load_config(resolved, local, checkpoint)
    vars(config).pop("quantization_config", None)  # the sizes of plain weights are compared
    disable_progress_bar()
    with loading_errors(resolved, "the model"), torch.device("meta"):
        model = auto_class(resolved.name, config).from_config(
            config, dtype=torch.bfloat16, trust_remote_code=trusts_remote_code(local)
        )
    if not isinstance(model, PreTrainedModel):
        raise InputError(f"{resolved.name}: not a causal language model", "choose another model in local.model")
    tensors: Mapping[str, Tensor] = checkpoint.tensors
    if is_bnb_4bit(checkpoint):
        tensors = packed_sizes(checkpoint, {name: tuple(value.shape) for name, value in model.state_dict().items()})
    state = {name: torch.empty(tensor.shape, dtype=torch.bfloat16, device="meta") for name, tensor in tensors.items()}
    with loading_errors(resolved, "the weights"), conversion_errors(resolved.name, checkpoint.tensors):
        filled, info = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=state,
            dtype=torch.bfloat16,
            device_map={"": "meta"},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    refuse_differences(resolved.name, model.config, info, checkpoint.tensors)
    assert isinstance(filled, PreTrainedModel)
    return filled


def load_config(resolved: ResolvedModel, local: Local, checkpoint: Checkpoint) -> PreTrainedConfig:
    """The configuration, without what it says of quantisation where the weights are plain floats."""
    with loading_errors(resolved, "config.json"):
        config = AutoConfig.from_pretrained(resolved.path, trust_remote_code=trusts_remote_code(local))
    if not isinstance(config, PreTrainedConfig):
        raise InputError(f"{resolved.name}: not a model of transformers", "choose another model in local.model")
    if "quantization_config" in vars(config) and not is_bnb_4bit(checkpoint):
        del config.quantization_config
    return config


def auto_class(name: str, config: PreTrainedConfig) -> Any:
    """The class of transformers that loads a language model, for multimodal ones with the other parts around it.

    Raises InputError for models of other kinds.
    """
    if config.model_type in _NEEDS_IMAGES:
        raise InputError(
            f"{name}: transformers cannot run {config.model_type} models on text alone",
            "choose another model in local.model",
        )
    own = getattr(config, "auto_map", None) or {}
    nested = config.get_text_config(decoder=True) is not config
    if nested and not own and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText  # some have a class for the text alone, whose names servers don't know
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or "AutoModelForCausalLM" in own:
        return AutoModelForCausalLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    raise InputError(
        f"{name}: {config.model_type} is not a causal language model", "choose another model in local.model"
    )
