"""The kernels of a training, and whether its batches need padding.

On CUDA, flash attention reads rows behind each other without padding: it is told where each begins. On a processor that
would be exact too, but slower: attention there takes a mask over all pairs of tokens of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from engine.local.attention import use_grouped_attention
from engine.local.device import Device
from engine.local.training.rows import TokenRow
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


def needs_no_padding(model: PreTrainedModel, rows: Sequence[TokenRow]) -> bool:
    """Whether batches may have no padding: attention is flash attention, and the model keeps rows apart."""
    if model.config.get_text_config()._attn_implementation != FLASH:
        return False
    return keeps_rows_apart(model, sorted(rows, key=lambda row: len(row.tokens))[:2])


def keeps_rows_apart(model: PreTrainedModel, rows: Sequence[TokenRow]) -> bool:
    """Whether the last row has the same last hidden states behind the others as beside them.

    Layers that carry a state from token to token (Mamba, short convolutions) may not notice where a row begins.
    """
    base: Any = model
    base.eval()
    states = []
    for padding_free in (False, True):
        collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=padding_free)
        batch = collate([{"input_ids": row.tokens} for row in rows])
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "attention_mask")}
        moved = {k: value.to(base.device) if isinstance(value, torch.Tensor) else value for k, value in inputs.items()}
        try:
            with torch.no_grad():
                states.append(base.base_model(**moved, use_cache=False).last_hidden_state.float())
        except ValueError:
            if padding_free:  # transformers refuses it where a layer's kernels cannot do it
                return False
            raise
    length = len(rows[-1].tokens)
    wanted, found = states[0][-1, :length], states[1][0, -length:]
    return bool((found - wanted).norm() <= LARGEST_DIFFERENCE * wanted.norm())
