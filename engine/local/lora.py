"""LoRA as it is trained here: weights in float32, products in the base model's number format."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MethodType

import peft
import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear
from transformers import PreTrainedModel

from engine.local.dropout import without_some
from engine.local.targets import counted, find_targets
from engine.protocol.errors import InputError
from engine.settings.local import Adapter

TESTED_MINORS = ("0.21",)
"""The minor versions of peft with whose layers `_forward` is tested."""

_PROPERTIES = ("disable_adapters", "merged")
_WEIGHTS = ("lora_A", "lora_B")
_PARAMETERS = ("scaling", "lora_dropout")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSize:
    """What is trained: weights of the adapter out of all, its layers by name, and by reason those without one."""

    trained: int
    total: int
    layers: Mapping[str, int]
    frozen: Mapping[str, int]

    @property
    def sentence(self) -> str:
        """For the log, in a line."""
        share = f"{_about(self.trained)} of {_about(self.total)} weights ({self.trained / self.total:.2%})"
        layers = ", ".join(f"{count} {name}" for name, count in self.layers.items())
        frozen = ", ".join(f"{count} {reason}" for reason, count in self.frozen.items())
        return f"training {share}: {layers}" + (f"; frozen: {frozen}" if frozen else "")


def _about(weights: int) -> str:
    return f"{weights:,}" if weights < 1e6 else f"{weights / 1e6:,.{1 if weights < 1e8 else 0}f} million"


def add_adapter(model: PreTrainedModel, adapter: Adapter) -> PeftModel:
    """The model with a new adapter, as `sized_adapter` makes it."""
    return sized_adapter(model, adapter)[0]


def sized_adapter(model: PreTrainedModel, adapter: Adapter) -> tuple[PeftModel, AdapterSize]:
    """A new, trainable adapter on the layers that the settings name, and its size; the same seed gives the same one.

    Its layers compute as `_forward` does, or as peft does where this peft is another than the tested ones, or for DoRA.
    Raises InputError where the settings name layers that the model does not have, or that cannot be trained so.
    """
    targets = find_targets(model, adapter.target_modules)
    if targets.parameters and (adapter.dropout or adapter.dora):
        raise InputError(
            "local.adapter.target_modules names experts, which are trained without dropout and DoRA only",
            "set local.adapter.dropout to 0 and dora to false",
        )
    config = LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets.suffixes,
        exclude_modules=targets.excluded,
        target_parameters=list(targets.parameters) or None,
        use_rslora=adapter.rslora,
        use_dora=adapter.dora,
        task_type="CAUSAL_LM",
    )
    try:
        peft_model = get_peft_model(model, config)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"LoRA cannot be added: {reason}", "name other layers in local.adapter.target_modules"
        ) from error
    if not isinstance(peft_model, PeftModel):
        raise TypeError(f"peft made a {type(peft_model).__name__}, not a PeftModel")
    _keep_unpacked(peft_model)
    if _fits_peft():
        for module in peft_model.modules():
            # Quantised layers are of other classes, which handle their number formats; variants compute otherwise.
            if type(module) is Linear and not module.lora_variant:
                module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
    trained, total = peft_model.get_nb_trainable_parameters()
    layers = counted(targets.modules) + Counter(
        {f"experts.{name}": n for name, n in counted(targets.parameters).items()}
    )
    frozen = {reason: len(names) for reason, names in targets.frozen.items()}
    return peft_model, AdapterSize(trained=trained, total=total, layers=layers, frozen=frozen)


def _keep_unpacked(model: PeftModel) -> None:
    """Keep 4-bit weights as backward reads them: on processors bitsandbytes repacks them at the first evaluation, and
    then neither gradients nor biases work."""
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


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
