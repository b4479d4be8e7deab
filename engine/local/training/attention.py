"""The kernels of a training, and how its batches are put together for them.

On CUDA, flash attention reads rows behind each other without padding: it is told where each begins. On a processor that
would be exact too, but slower: attention there takes a mask over all pairs of tokens of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from engine.local.attention import use_grouped_attention
from engine.local.device import Device
from engine.local.training.loss import padded, padding_free
from engine.local.training.rows import TokenRow
from engine.local.training.steps import Collate
from engine.settings.local import Attention

FLASH = "flash_attention_2"
PACKAGE = "flash_attn"

LARGEST_DIFFERENCE = 0.05
"""Share by which the states of a padding-free batch may differ from those of a padded one, of their own size: bfloat16
has 3 digits, and a row that saw another one would differ altogether."""


def choose(model: PreTrainedModel, attention: Attention, device: Device) -> None:
    """Set the model's attention: with "auto", flash attention where GPU, package and model have it, on a processor
    grouped products where the model's own is torch's, else its own."""
    known: Any = model
    possible = device.kind == "cuda" and device.dtype != "float32" and find_spec(PACKAGE) is not None
    if attention != "auto":
        known.set_attn_implementation(attention)
    elif possible and known._supports_flash_attn:
        known.set_attn_implementation(FLASH)
    elif device.kind == "cpu":
        use_grouped_attention(model)


def add_kernels(model: PeftModel, device: Device) -> None:
    """Use Liger's kernels for norms, rotary positions and gated layers, on CUDA, where they are installed."""
    if device.kind == "cuda" and find_spec("liger_kernel") is not None:
        from transformers.integrations.liger import apply_liger_kernel

        apply_liger_kernel(model, {"fused_linear_cross_entropy": False, "cross_entropy": False})


def collate(model: PeftModel, rows: Sequence[TokenRow]) -> Collate:
    """How rows become a batch: padding-free where attention is flash attention and the model keeps rows apart."""
    base: Any = model.get_base_model()
    if base.config.get_text_config()._attn_implementation != FLASH:
        return padded
    shortest = sorted(rows, key=lambda row: len(row.tokens))[:2]
    return padding_free if keeps_rows_apart(base, shortest) else padded


def keeps_rows_apart(model: PreTrainedModel, rows: Sequence[TokenRow]) -> bool:
    """Whether the last row has the same last hidden states behind the others as beside them.

    Layers that carry a state from token to token (Mamba, short convolutions) may not notice where a row begins.
    """
    base: Any = model
    base.eval()
    with torch.no_grad():
        beside = base.base_model(**padded(rows, model.device).inputs, use_cache=False).last_hidden_state
        behind = base.base_model(**padding_free(rows, model.device).inputs, use_cache=False).last_hidden_state
    length = len(rows[-1].tokens)
    wanted, found = beside[-1, :length].float(), behind[0, -length:].float()
    return bool((found - wanted).norm() <= LARGEST_DIFFERENCE * wanted.norm())
