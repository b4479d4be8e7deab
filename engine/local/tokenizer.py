"""Loads a resolved model's tokenizer. Apart from the weights, since loading those imports libraries for seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from engine.local.checkpoint import POINTER, read_object
from engine.local.rendering import settle
from engine.local.resolve import ResolvedModel
from engine.local.template import ensure_chat_template
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.memory import no_memory
from engine.settings.local import Local

_PACKAGE = re.compile(r"pip install (?:-\w+ )*[`'\"]?([A-Za-z0-9][\w.\-]*)")
_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json", "*.tiktoken")
"""The files that hold a tokenizer's vocabulary."""
_TEXTS = ("tokenizer_config.json", "added_tokens.json", "chat_template.*", "additional_chat_templates/*.jinja")
"""Its other files."""


def trusts_remote_code(local: Local) -> bool:
    """Whether the user allows the code that comes with this very model."""
    return local.trust_remote_code is not None and local.trust_remote_code == local.model


def load_tokenizer(resolved: ResolvedModel, local: Local) -> PreTrainedTokenizerBase:
    """The tokenizer, with a chat template and a padding token. Raises InputError where it cannot be used."""
    trusted = trusts_remote_code(local)
    if not trusted and not any(any(resolved.path.glob(name)) for name in _FILES):
        raise InputError(
            f"{resolved.name}: has no tokenizer",
            f"copy tokenizer.json and tokenizer_config.json of the model that it was made from into {resolved.path}",
        )
    _refuse_pointers(resolved.path)
    try:
        with loading_errors(resolved, "the tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(resolved.path, trust_remote_code=trusted)
    except InputError:
        for file in _files(resolved.path):
            if file.suffix == ".json":
                read_object(file)  # which file is damaged, where one is
        raise
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(f"{resolved.name}: no text tokenizer", "choose another model in local.model")
    if not tokenizer.chat_template and (resolved.path / "tekken.json").exists():
        raise InputError(
            f"{resolved.name}: has Mistral's own tokenizer alone (tekken.json), and no chat template",
            "name a copy of the model that has tokenizer.json and chat_template.jinja, or add both files",
        )
    ensure_chat_template(tokenizer)
    settle(tokenizer, local.template, resolved.day or date.today())
    return tokenizer


def _files(folder: Path) -> list[Path]:
    return sorted(file for name in (*_FILES, *_TEXTS) for file in folder.glob(name))


def _refuse_pointers(folder: Path) -> None:
    """Raise InputError where Git LFS has kept the contents of a file; a template's would be taken for the template."""
    for file in _files(folder):
        with file.open("rb") as stream:
            if stream.read(len(POINTER)) == POINTER:
                raise InputError(
                    f"{file}: a Git LFS pointer", "run `git lfs pull` in that folder, or download it again"
                )


@contextmanager
def loading_errors(resolved: ResolvedModel, what: str) -> Iterator[None]:
    """Turn errors about an unusable model into an InputError that says what to do; lack of memory stays what it is.

    Libraries and code that comes with models raise nearly everything for files that they cannot read.
    """
    try:
        yield
    except (LlamaDuoError, MemoryError):
        raise
    except Exception as error:
        if no_memory(error):
            raise
        reason = _reason(error)
        raise InputError(f"{resolved.name}: cannot load {what}: {reason[:200]}", _hint(resolved, error)) from error


def _reason(error: Exception) -> str:
    """What an error says, in a line: its first, and the next one where that ends in a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return reason if reason and not isinstance(error, KeyError) else f"{type(error).__name__} {reason}".strip()


def _hint(resolved: ResolvedModel, error: Exception) -> str:
    text = str(error)
    if "trust_remote_code" in text or "custom code" in text:
        return f"read the code in {resolved.path}; to run it, set [local] trust_remote_code to the name in local.model"
    if "does not recognize this architecture" in text or "Unrecognized model" in text:
        return "upgrade transformers if the model is new: `pip install -U transformers`; or choose another model"
    if package := _PACKAGE.search(text):
        return f"pip install {package[1]}"
    if "HeaderTooLarge" in text or "deserializing header" in text:
        return "download the model again: its weights are incomplete"
    return "choose another model in local.model"
