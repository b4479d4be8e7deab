"""LoRA as it is trained here: weights in float32, products in the base model's number format."""

from __future__ import annotations

from types import MethodType

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear
from transformers import PreTrainedModel

from engine.settings.schema import Adapter


def add_adapter(model: PreTrainedModel, adapter: Adapter) -> PeftModel:
    """A new, trainable adapter on every linear layer but the output; the same seed gives the same one."""
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
    for module in peft_model.modules():
        # Quantised layers are subclasses that handle their number formats.
        if type(module) is Linear:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
    return peft_model


def _forward(self: Linear, x: torch.Tensor) -> torch.Tensor:
    """W x + B A x * alpha / r, in x's number format.

    peft computes the same with every activation copied to float32 and back, which on a processor takes as long as
    the products. Rounding the factors, not the weights that the optimizer sees, is what mixed precision does too.
    """
    base: torch.Tensor = self.base_layer(x)
    if self.disable_adapters or self.merged:
        return base
    down: torch.Tensor = self.lora_A["default"].weight.to(x.dtype)  # type: ignore[assignment]
    up = (self.lora_B["default"].weight * self.scaling["default"]).to(base.dtype)
    inner = torch.nn.functional.linear(self.lora_dropout["default"](x), down)
    return torch.addmm(base.flatten(0, -2), inner.flatten(0, -2).to(base.dtype), up.T).view_as(base)
