"""Which layers of a model get an adapter: by its structure, whatever the names in its architecture are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from engine.protocol.errors import InputError

ALL_LINEAR = "all-linear"

OTHER_PARTS = "layers of other parts than the language model"
ROUTERS = "routers"
EXPERTS = "tensors of fused experts"
STATE_SPACE = "state-space layers whose kernels read the weights directly"
SPECIAL = "layers that do more than a product"
ALIKE = "layers with the names of fused experts"
_SMALL_MIXERS = re.compile(r"(^|\.)(altup|modality_router)(\.|$)")
"""Gemma 3n's mixing of parallel streams: matrices of a few numbers, read as weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The layers that get an adapter, by full name, and `parameters` for experts that are fused into one tensor.

    `others` are the model's other modules, and `frozen` says why linear layers among them have none: names by reason.
    `inside` is where the names of the language model begin.
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    others: tuple[str, ...]
    inside: str
    frozen: Mapping[str, tuple[str, ...]]

    @property
    def suffixes(self) -> list[str]:
        """The last parts of the names: how adapters name layers, so that servers know them."""
        return sorted({name.rpartition(".")[2] for name in self.modules})

    @property
    def excluded(self) -> str | None:
        """A regular expression for the layers that `suffixes` name too, and that get no adapter; None without any."""
        suffixes = set(self.suffixes)
        alike = [name for name in self.others if name.rpartition(".")[2] in suffixes]
        return "|".join(dict.fromkeys(self._pattern(name) for name in alike)) or None

    def _pattern(self, name: str) -> str:
        """For all names of the part next to the language model, or for the name with any number in place of its own."""
        if not name.startswith(self.inside):
            parts, inside = name.split("."), self.inside.split(".")
            own = next(place for place, part in enumerate(parts) if part != inside[place])
            return re.escape(".".join(parts[: own + 1])) + r"(\..*)?"
        general = re.sub(r"\\\.\d+(?=\\\.)", r"\\.[0-9]+", re.escape(name))
        return re.escape(name) if any(re.fullmatch(general, one) for one in self.modules) else general


def find_targets(model: PreTrainedModel, wanted: str | list[str]) -> Targets:
    """The layers of a model that a setting names: all linear ones, names or their ends, or a regular expression.

    The output layer, routers, vision and audio parts, and layers that LoRA would not reach are never among them, and
    fused experts only where they are named. Raises InputError where a name matches nothing that can be trained.
    """
    reasons = _reasons(model)
    able = [name for name, reason in reasons.items() if not reason]
    experts = list(_fused_experts(model))
    if not able and not experts:
        raise InputError(
            f"a {model.config.model_type} model has no linear layer that LoRA can train", "choose another local.model"
        )
    modules, parameters = (able, []) if wanted == ALL_LINEAR else _named(wanted, able, experts)
    chosen = set(modules)
    frozen: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason:
            frozen.setdefault(reason, []).append(name)
    if rest := [name for name in experts if name not in parameters]:
        frozen[EXPERTS] = rest
    return Targets(
        modules=tuple(modules),
        parameters=tuple(parameters),
        inside=_decoder(model),
        others=tuple(name for name, _ in model.named_modules() if name not in chosen),
        frozen={reason: tuple(names) for reason, names in frozen.items()},
    )


def counted(names: Iterable[str]) -> Counter[str]:
    """Names of layers by their last part, which is the same in each layer of the model."""
    return Counter(name.rpartition(".")[2] for name in names)


def _named(wanted: str | list[str], able: list[str], experts: list[str]) -> tuple[list[str], list[str]]:
    try:
        tests = [re.compile(wanted)] if isinstance(wanted, str) else [_ending(name) for name in wanted]
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(
            f"local.adapter.target_modules: invalid regular expression {wanted!r}: {error}", "correct it"
        ) from None
    names = [*able, *experts]
    for test, said in zip(tests, [wanted] if isinstance(wanted, str) else wanted, strict=True):
        if not any(map(test.fullmatch, names)):
            known = ", ".join([*counted(able), *(f"experts.{name}" for name in counted(experts))])
            raise InputError(
                f"local.adapter.target_modules: {said!r} matches no layer that can be trained", f"choose among {known}"
            )
    chosen = [name for name in names if any(test.fullmatch(name) for test in tests)]
    return [name for name in chosen if name in set(able)], [name for name in chosen if name in set(experts)]


def _ending(name: str) -> re.Pattern[str]:
    return re.compile(rf"(.*\.)?{re.escape(name)}")


def _reasons(model: PreTrainedModel) -> dict[str, str]:
    """Why each linear layer but the output one cannot be trained, "" where it can."""
    output, inside = model.get_output_embeddings(), _decoder(model)
    routers, alike, reasons = set(_routers(model)), _taken_for_experts(model), {}
    for name, module in model.named_modules():
        if module is output or not isinstance(module, (torch.nn.Linear, Conv1D)):
            continue
        parent, layer = model.get_submodule(name.rpartition(".")[0]), type(module)
        if not name.startswith(inside):
            reasons[name] = OTHER_PARTS
        elif name in routers:
            reasons[name] = ROUTERS
        elif not _is_product(layer) or _SMALL_MIXERS.search(name):
            reasons[name] = SPECIAL
        elif _is_state_space(parent) and name.rpartition(".")[2] != "in_proj":
            reasons[name] = STATE_SPACE
        elif name.rpartition(".")[2] in alike:
            reasons[name] = ALIKE
        else:
            reasons[name] = ""
    return reasons


def _is_product(layer: type[Any]) -> bool:
    """Whether a kind of layer computes a product and nothing else, tried on a small one: some routers return more."""
    if layer in (torch.nn.Linear, Linear4bit, Conv1D):
        return True
    if layer is NonDynamicallyQuantizableLinear:  # attention reads its weights itself
        return False
    small = torch.nn.Linear(3, 2, device="cpu")
    inputs, expected = torch.ones(1, 3, device="cpu"), small.bias + small.weight.sum(dim=1)
    small.__class__ = layer
    try:
        return torch.allclose(small(inputs), expected)
    except (AttributeError, TypeError, ValueError, RuntimeError, LookupError):  # it needs attributes of its own
        return False


def _taken_for_experts(model: PreTrainedModel) -> set[str]:
    """The names of layers that peft reads as those of experts, which older versions of transformers kept apart."""
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    return {name for name in names if not _keeps(model, name)} if any(_fused_experts(model)) else set()


def _keeps(model: PreTrainedModel, name: str) -> bool:
    config = LoraConfig(target_modules=[name])
    try:
        convert_peft_config_for_transformers(config, model=model, conversions=None)
    except ValueError:
        return False
    return name in (config.target_modules or ())


def _decoder(model: PreTrainedModel) -> str:
    """The name of the language model in a model, with a dot; "" where it cannot be told."""
    decoder = model.get_decoder()
    name = next((name for name, module in model.named_modules() if module is decoder), "")
    return f"{name}." if name else ""


def _is_state_space(module: torch.nn.Module) -> bool:
    """Mamba, 1 or 2: its fused kernels take the weights of all layers behind the first, and not what LoRA adds."""
    return {"A_log", "D"} <= {name for name, _ in module.named_parameters(recurse=False)}


def _expert_modules(model: PreTrainedModel) -> Iterator[tuple[str, int]]:
    """Modules that hold the experts of a layer, and how many these are."""
    inside = _decoder(model)
    for name, module in model.named_modules():
        if not name.startswith(inside) or isinstance(module, _ConvNd):
            continue
        if isinstance(module, torch.nn.ModuleList) and name.endswith("experts"):
            yield name, len(module)
        elif len(sizes := [value.shape[0] for _, value in _fused(module)]) > 1 and len(set(sizes)) == 1:
            yield name, sizes[0]


def _fused(module: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, value) for name, value in module.named_parameters(recurse=False) if value.dim() == 3]


def _fused_experts(model: PreTrainedModel) -> Iterator[str]:
    for name, _ in _expert_modules(model):
        yield from (f"{name}.{inner}" for inner, _ in _fused(model.get_submodule(name)))


def _routers(model: PreTrainedModel) -> Iterator[str]:
    """Layers next to experts with an output for each of them, or with one that weighs the shared expert."""
    for experts, count in _expert_modules(model):
        block = experts.rpartition(".")[0]
        for name, module in model.get_submodule(block).named_modules(prefix=block):
            outside = not name.startswith(f"{experts}.")
            if outside and isinstance(module, torch.nn.Linear) and module.out_features in (1, count):
                yield name
