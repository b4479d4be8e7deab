"""Loads a resolved model's tokenizer. Apart from the weights, since loading those imports libraries for seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from engine.local.rendering import settle
from engine.local.resolve import ResolvedModel
from engine.local.template import ensure_chat_template
from engine.protocol.errors import InputError
from engine.settings.local import Local


def trusts_remote_code(local: Local) -> bool:
    """Whether the user allows the code that comes with this very model."""
    return local.trust_remote_code is not None and local.trust_remote_code == local.model


def load_tokenizer(resolved: ResolvedModel, local: Local) -> PreTrainedTokenizerBase:
    """The tokenizer, with a chat template and a padding token. Raises InputError where it cannot be used."""
    with loading_errors(resolved, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(resolved.path, trust_remote_code=trusts_remote_code(local))
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(f"{resolved.name}: no text tokenizer", "choose another model in local.model")
    ensure_chat_template(tokenizer)
    settle(tokenizer, local.template, resolved.day or date.today())
    return tokenizer


@contextmanager
def loading_errors(resolved: ResolvedModel, what: str) -> Iterator[None]:
    """Turn transformers' errors about an unusable model into an InputError."""
    try:
        yield
    except (ValueError, OSError, KeyError, ImportError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"{resolved.name}: cannot load {what}: {reason[:200]}", "choose another model in local.model"
        ) from error
