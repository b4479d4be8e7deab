"""What a load of weights reports, judged: transformers makes up the tensors that it does not find."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.local.checkpoint import AGAIN, Tensor
from engine.protocol.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_HARMLESS = re.compile(
    r"(^|\.)(rotary_emb\.\w+|inv_freq|position_ids|masked_bias|causal_mask|attn\.bias|attention\.bias|_extra_state)$"
    r"|(^v_head|(^|\.)mtp(_\w+)?)\."
)
"""Tensors of a checkpoint without which its answers are the same: buffers, TRL's value head, heads that look ahead."""


_EXPERT = re.compile(r"(?<=\.experts\.)\d+(?=\.)")
"""The number of an expert, where each has tensors of its own."""

_CONVERSION = "automatic conversion of the weights"
"""What transformers says where it cannot make one tensor of several, such as those of all experts."""


@contextmanager
def conversion_errors(name: str, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Raise InputError with the tensor at fault where a load of these cannot make one tensor of several."""
    try:
        yield
    except RuntimeError as error:
        if _CONVERSION not in str(error):
            raise
        problem = _odd_expert(tensors) or "transformers cannot convert the tensors of its weights"
        raise InputError(f"{name}: {problem}", AGAIN) from error


def refuse_differences(
    name: str, config: PreTrainedConfig, info: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Raise InputError where the tensors of a checkpoint are not those of the model, after a load's own report."""
    kind = f"a {config.model_type} model"
    if info["mismatched_keys"] and (problem := _odd_expert(tensors)):
        raise InputError(f"{name}: {problem}", AGAIN)
    if mismatched := sorted(info["mismatched_keys"]):
        tensor, found, wanted = mismatched[0]
        raise InputError(
            f"{name}: the tensor {tensor} has the sizes {_sizes(found)} where config.json asks for {_sizes(wanted)}"
            f"{_more(mismatched)}",
            "restore the config.json that belongs to these weights, or choose another model in local.model",
        )
    missing, extra = sorted(info["missing_keys"]), sorted(filter(_matters, info["unexpected_keys"]))
    if missing:
        found = f"; it has {extra[0]}, which {kind} has not{_more(extra)}" if extra else ""
        raise InputError(
            f"{name}: the tensor {missing[0]} is missing{_more(missing)}{found}",
            "save the model with `save_pretrained`, which names tensors as transformers does" if extra else AGAIN,
        )
    if extra:
        raise InputError(
            f"{name}: the tensor {extra[0]} has no place in {kind} of this config.json{_more(extra)}",
            "restore the config.json that belongs to these weights, or choose another model in local.model",
        )
    if errors := info.get("error_msgs"):
        raise InputError(f"{name}: the weights cannot be loaded: {str(errors[0])[:200]}", AGAIN)


def _odd_expert(tensors: Mapping[str, Tensor]) -> str:
    """The first tensor that one expert lacks, or has in another size than most of the others; "" where all agree."""
    layers: dict[str, dict[int, dict[str, Tensor]]] = {}
    for tensor in sorted(tensors):
        if number := _EXPERT.search(tensor):
            experts = layers.setdefault(tensor[: number.start()], {})
            experts.setdefault(int(number[0]), {})[tensor[number.end() :]] = tensors[tensor]
    for layer, experts in layers.items():
        for part in sorted({part for expert in experts.values() for part in expert}):
            found = {number: expert[part] for number, expert in experts.items() if part in expert}
            if lacking := sorted(set(range(max(experts) + 1)) - found.keys()):
                return f"the tensor {layer}{lacking[0]}{part} is missing"
            usual = Counter(tensor.shape for tensor in found.values()).most_common(1)[0][0]
            if other := sorted(number for number, tensor in found.items() if tensor.shape != usual):
                shown = f"{_sizes(found[other[0]].shape)}, other experts have {_sizes(usual)}"
                return f"the tensor {layer}{other[0]}{part} has the sizes {shown}"
    return ""


def _matters(tensor: str) -> bool:
    return _HARMLESS.search(tensor) is None


def _sizes(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _more(found: list[Any]) -> str:
    return f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
