"""Loads a resolved model's weights, from safetensors only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import PeftModel, get_peft_model_state_dict
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from engine.local.checkpoint import read_header
from engine.local.device import Device
from engine.local.differences import conversion_errors, refuse_differences
from engine.local.quantised import usable_checkpoint
from engine.local.resolve import ResolvedModel
from engine.local.skeleton import auto_class, load_config
from engine.local.tokenizer import loading_errors, trusts_remote_code
from engine.protocol.errors import InputError
from engine.settings.local import Local

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def load_base(resolved: ResolvedModel, local: Local, device: Device) -> PreTrainedModel:
    """The untuned model on its device, in the device's number format or as 4-bit NF4.

    Raises InputError where it cannot be used.
    """
    checkpoint = usable_checkpoint(resolved, local)
    config = load_config(resolved, local, checkpoint)
    quantised: dict[str, Any] = {}
    if local.quantization == "nf4":
        quantised["quantization_config"] = _nf4()
    disable_progress_bar()
    with loading_errors(resolved, "the model"), conversion_errors(resolved.name, checkpoint.tensors):
        model, info = auto_class(resolved.name, config).from_pretrained(
            resolved.path,
            config=config,
            dtype=torch.bfloat16 if quantised else device.torch_dtype,
            device_map={"": _torch_device(device)},
            use_safetensors=True,
            trust_remote_code=trusts_remote_code(local),
            # Compared below, with words that say what is wrong: transformers makes up what it does not find.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **quantised,
        )
    if not isinstance(model, PreTrainedModel):
        raise InputError(f"{resolved.name}: not a causal language model", "choose another model in local.model")
    if found := next((name for name, _ in model.named_parameters() if "lora_" in name), None):
        raise InputError(
            f"{resolved.name}: its weights contain an adapter: {found}",
            "merge the adapter into the weights, or choose the model without it in local.model",
        )
    refuse_differences(resolved.name, model.config, info, checkpoint.tensors)
    for module in model.modules():
        if isinstance(module, Linear4bit) and not _packs(module):
            module.support_avx512bf16_for_cpu = False
    return model


def load_model(
    resolved: ResolvedModel, local: Local, device: Device, adapter: Path | None, *, merge: bool = False
) -> PreTrainedModel | PeftModel:
    """The model for inference: the untuned one, or with the adapter of a folder.

    An adapter is merged into a 16-bit base: with SmolLM2-135M on a processor, batches of 16 then take three quarters
    of the time. On a 4-bit base it stays apart, for merging would round it to 4 bits; to `merge` it, the values of the
    4-bit weights are first written with 16 bits, for these are what the adapter was trained on.
    Raises InputError where either cannot be used.
    """
    model = load_base(resolved, local, device)
    if adapter is None:
        return model
    if merge and local.quantization == "nf4":
        model.dequantize(torch.bfloat16)
    if not (adapter / ADAPTER_WEIGHTS).is_file():
        raise InputError(f"{adapter}: {ADAPTER_WEIGHTS} is missing", "fine-tune first")
    with loading_errors(resolved, f"the adapter in {adapter}"):
        tuned = PeftModel.from_pretrained(model, str(adapter), use_safetensors=True)
    _refuse_other_adapter(tuned, adapter)
    if local.quantization == "nf4" and not merge:
        return tuned
    merged = tuned.merge_and_unload()
    if not isinstance(merged, PreTrainedModel):
        raise TypeError(f"peft merged into a {type(merged).__name__}")
    return merged


def _refuse_other_adapter(tuned: PeftModel, adapter: Path) -> None:
    """peft leaves out what has no place, and answers as if untuned. Raises InputError where anything was."""
    saved, wanted = read_header(adapter / ADAPTER_WEIGHTS).keys(), get_peft_model_state_dict(tuned).keys()
    if other := sorted(saved ^ wanted):
        raise InputError(f"{adapter}: not an adapter of this model: {other[0]} differs", "fine-tune again")


def _packs(module: Linear4bit) -> bool:
    """Whether bitsandbytes can repack a layer for answering on a processor: it fails where these don't divide."""
    return module.out_features % 32 == 0 and module.in_features % 64 == 0


def _nf4() -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _torch_device(device: Device) -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if device.kind == "cuda" else torch.device(device.kind)
