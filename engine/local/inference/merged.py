"""A round's model as one folder of safetensors, for servers that take no adapter."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.local.device import processor
from engine.local.load import load_model
from engine.local.resolve import ResolvedModel
from engine.local.served_template import save_tokenizer, served_template
from engine.local.tokenizer import load_tokenizer
from engine.settings.local import Local

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.gguf")


def write_merged(model: ResolvedModel, local: Local, adapter: Path | None, folder: Path) -> Path:
    """The folder with the adapter merged into the weights; that of the untuned model where there is no adapter.

    All but the weights is copied from the base model as it is; the chat template gets the arguments and the day of
    training. A base of 4 bits is written with the 16-bit numbers that these stand for. It is done in main memory.
    Raises InputError where either cannot be used.
    """
    if adapter is None:
        return model.path
    shutil.rmtree(folder, ignore_errors=True)
    merged = load_model(model, local, processor(), adapter, merge=True)  # a server needs the GPU's memory
    merged.save_pretrained(str(folder))
    del merged
    weights = {file for pattern in WEIGHTS for file in model.path.glob(pattern)}
    for file in model.path.iterdir():
        if file.is_file() and file not in weights and file.name != "config.json":
            shutil.copyfile(file, folder / file.name)
    tokenizer = load_tokenizer(model, local)
    template = served_template(tokenizer)
    if isinstance(template, str):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    else:
        save_tokenizer(tokenizer, folder)
    return folder
