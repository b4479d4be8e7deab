"""What a load of weights reports, judged: transformers makes up the tensors that it does not find."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.local.checkpoint import AGAIN
from engine.protocol.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_HARMLESS = re.compile(
    r"(^|\.)(rotary_emb\.\w+|inv_freq|position_ids|masked_bias|causal_mask|attn\.bias|attention\.bias|_extra_state)$"
    r"|(^v_head|(^|\.)mtp(_\w+)?)\."
)
"""Tensors of a checkpoint without which its answers are the same: buffers, TRL's value head, heads that look ahead."""


def refuse_differences(name: str, config: PreTrainedConfig, info: Mapping[str, Any]) -> None:
    """Raise InputError where the tensors of a checkpoint are not those of the model, after a load's own report."""
    kind = f"a {config.model_type} model"
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


def _matters(tensor: str) -> bool:
    return _HARMLESS.search(tensor) is None


def _sizes(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _more(found: list[Any]) -> str:
    return f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
