"""LoRA as it is trained here: weights in float32, products in the base model's number format."""

from __future__ import annotations

import logging
from functools import cache
from types import MethodType

import peft
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear
from transformers import PreTrainedModel

from engine.local.dropout import without_some
from engine.settings.local import Adapter

TESTED_MINORS = ("0.21",)
"""The minor versions of peft with whose layers `_forward` is tested."""

_PROPERTIES = ("disable_adapters", "merged")
_WEIGHTS = ("lora_A", "lora_B")
_PARAMETERS = ("scaling", "lora_dropout")


def add_adapter(model: PreTrainedModel, adapter: Adapter) -> PeftModel:
    """A new, trainable adapter on every linear layer but the output; the same seed gives the same one.

    Its layers compute as `_forward` does, or as peft does where this peft is another than the tested ones.
    """
    config = LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    peft_model = get_peft_model(model, config)
    if not isinstance(peft_model, PeftModel):
        raise TypeError(f"peft made a {type(peft_model).__name__}, not a PeftModel")
    if not _fits_peft():
        return peft_model
    for module in peft_model.modules():
        # Quantised layers are of other classes, which handle their number formats.
        if type(module) is Linear:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
    return peft_model


@cache
def _fits_peft() -> bool:
    """Whether `_forward` fits the installed peft; logs a warning, once in a process, where it does not."""
    problem = _incompatibility(peft.__version__)
    if problem:
        logging.getLogger(__name__).warning("%s: training uses peft's LoRA layers, which are slower", problem)
    return not problem


def _incompatibility(version: str) -> str:
    """Why `_forward` does not fit a version of peft, or "" where it does."""
    if ".".join(version.split(".")[:2]) not in TESTED_MINORS:
        return f"peft {version} is untested (tested: {', '.join(TESTED_MINORS)})"
    missing = [
        *(name for name in _PROPERTIES if not isinstance(getattr(Linear, name, None), property)),
        *(name for name in _WEIGHTS if name not in Linear.adapter_layer_names),
        *(name for name in _PARAMETERS if name not in Linear.other_param_names),
    ]
    return f"peft {version} has LoRA layers without {', '.join(missing)}" if missing else ""


def _forward(self: Linear, x: torch.Tensor) -> torch.Tensor:
    """W x + B A x * alpha / r, in x's number format.

    peft computes the same with every activation copied to float32 and back, which on a processor takes as long as
    the products. Rounding the factors, not the weights that the optimizer updates, is what mixed precision does too.
    """
    base: torch.Tensor = self.base_layer(x)
    if self.disable_adapters or self.merged:
        return base
    down: torch.Tensor = self.lora_A["default"].weight.to(x.dtype)  # type: ignore[assignment]
    scale, dropout = self.scaling["default"], self.lora_dropout["default"]
    p = dropout.p if isinstance(dropout, torch.nn.Dropout) and self.training and x.device.type == "cpu" else 0.0
    kept = without_some(x, p) if p else dropout(x)
    up = (self.lora_B["default"].weight * (scale / (1 - p))).to(base.dtype)
    inner = torch.nn.functional.linear(kept, down)
    return torch.addmm(base.flatten(0, -2), inner.flatten(0, -2).to(base.dtype), up.T).view_as(base)
