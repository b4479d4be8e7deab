"""Tiny random models by architecture: two layers, hidden size 32, with the tokenizer of `tests.tiny`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from engine.local.resolve import ResolvedModel
from tests.tiny import make_tokenizer

DENSE: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
MAMBA: dict[str, Any] = {
    "mamba_n_heads": 4,
    "mamba_expand": 2,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_d_head": 16,
}

TABLE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", DENSE),
    "llama-tied": ("Llama", DENSE | {"tie_word_embeddings": True}),
    "qwen2-biases": ("Qwen2", DENSE),
    "qwen3": ("Qwen3", DENSE | {"head_dim": 8}),
    "gemma3": ("Gemma3Text", DENSE | {"head_dim": 8, "sliding_window": 16}),
    "phi3": ("Phi3", DENSE),
    "granite": ("Granite", DENSE),
    "smollm3": ("SmolLM3", DENSE),
    "olmo2": ("Olmo2", DENSE),
    "lfm2": ("Lfm2", DENSE | {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}),
    "qwen3-moe": ("Qwen3Moe", DENSE | EXPERTS | {"num_experts": 4, "moe_intermediate_size": 16}),
    "mixtral": ("Mixtral", DENSE | EXPERTS | {"num_local_experts": 4}),
    "gpt-oss": ("GptOss", DENSE | EXPERTS | {"num_local_experts": 4, "head_dim": 8}),
    "granite-hybrid": (
        "GraniteMoeHybrid",
        DENSE
        | EXPERTS
        | MAMBA
        | {
            "num_local_experts": 4,
            "layer_types": ["mamba", "attention"],
            "shared_intermediate_size": 16,
            "mamba_expand": 2,
        },
    ),
    "falcon-h1": ("FalconH1", DENSE | MAMBA | {"mamba_d_ssm": 64}),
    "gemma3-vision": (
        "Gemma3",
        {"text_config": DENSE | {"head_dim": 8}, "vision_config": VISION, "mm_tokens_per_image": 4},
    ),
}
_CLASSES = {"Gemma3Text": "Gemma3ForCausalLM", "Gemma3": "Gemma3ForConditionalGeneration"}


def make(name: str, folder: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> ResolvedModel:
    """Save one of the table with its tokenizer, in bfloat16; the same weights each time."""
    family, sizes = TABLE[name]
    sizes = dict(sizes)
    change(sizes)
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**sizes)
    model: PreTrainedModel = getattr(transformers, _CLASSES.get(family, f"{family}ForCausalLM"))(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return ResolvedModel(name, folder, None, "0" * 16)
