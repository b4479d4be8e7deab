"""The small files next to weights: tokenizer, chat template, generation settings, as every server reads them."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from engine.protocol import jsonl
from engine.release.source import Source

TEMPLATE_FILE = "chat_template.jinja"
GENERATION_FILE = "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
MODELFILE = "Modelfile"

OTHER_TEMPLATES = ("additional_chat_templates", "chat_template.json")
"""Where libraries look for further templates: with one named tool_use, chats with tools are shown by that."""

NEW_CLASS, OLD_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
"""What transformers 5 calls a tokenizer without a class of its own, and what every version knows it as."""


PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack", ".onnx", ".joblib", ".npz", ".npy")
"""Ends of names of weights in forms that can hold code, or that no server here reads."""


def copy_plain(source: Path, folder: Path, without: Collection[str]) -> None:
    """Copy the plain files of a folder: no links, which may lead anywhere, no weights but safetensors."""
    for file in source.iterdir():
        if file.is_symlink() or not file.is_file() or file.name in without or file.suffix.lower() in PICKLED:
            continue
        shutil.copyfile(file, folder / file.name, follow_symlinks=False)


def write_small_files(source: Source, folder: Path) -> None:
    """Write generation settings and template, and name the tokenizer's class so that older libraries know it."""
    jsonl.write_json(folder / GENERATION_FILE, source.generation_config())
    (folder / TEMPLATE_FILE).write_text(source.template, encoding="utf-8")
    path = folder / TOKENIZER_CONFIG
    config = jsonl.read_json(path) or {}
    # The template has a file of its own; with another one here, libraries disagree which counts.
    config.pop("chat_template", None)
    if config.get("tokenizer_class") == NEW_CLASS:
        config["tokenizer_class"] = OLD_CLASS
    if isinstance(tokens := config.get("extra_special_tokens"), list):
        del config["extra_special_tokens"]
        config["additional_special_tokens"] = tokens
    jsonl.write_json(path, config)
    named, other = (folder / name for name in OTHER_TEMPLATES)
    shutil.rmtree(named, ignore_errors=True)
    other.unlink(missing_ok=True)
