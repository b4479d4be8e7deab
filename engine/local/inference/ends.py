"""The tokens that end an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from engine.local.chat import end_token_ids
from engine.protocol import jsonl


def end_tokens(named: int | list[int] | None, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The template's end tokens, the tokenizer's eos token, and those that the model names."""
    own = named if isinstance(named, list) else [named]
    return {token for token in [*own, tokenizer.eos_token_id, *end_token_ids(tokenizer)] if token is not None}


def named_ends(model: Path) -> int | list[int] | None:
    """The eos tokens that a model's files name, read as transformers does: config.json counts where the other lacks."""
    rows = [jsonl.read_json(model / name) for name in ("generation_config.json", "config.json")]
    found: dict[str, Any] = next(filter(None, rows), {})
    named: int | list[int] | None = found.get("eos_token_id", found.get("text_config", {}).get("eos_token_id"))
    return named
