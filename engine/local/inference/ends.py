"""The tokens that end an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from engine.local.chat import end_token_ids
from engine.protocol import jsonl
from engine.protocol.errors import DamagedError


def end_tokens(named: int | list[int] | None, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The template's end tokens, the tokenizer's eos token, and those that the model names."""
    own = named if isinstance(named, list) else [named]
    return {token for token in [*own, tokenizer.eos_token_id, *end_token_ids(tokenizer)] if type(token) is int}


def named_ends(model: Path) -> list[int]:
    """The eos tokens that a model's files name, read as transformers does: config.json counts where the other lacks."""
    rows = (_table(model / name) for name in ("generation_config.json", "config.json"))
    found: dict[str, Any] = next(filter(None, rows), {})
    named = found.get("eos_token_id", (found.get("text_config") or {}).get("eos_token_id"))
    return [token for token in (named if isinstance(named, list) else [named]) if type(token) is int]


def _table(file: Path) -> dict[str, Any]:
    """A file that transformers does without where it is damaged."""
    try:
        return jsonl.read_json(file) or {}
    except DamagedError:
        return {}
