"""Weights of an artefact against those of its base: is the adapter in them, is a tensor lost?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from engine.local.checkpoint import read_checkpoint
from engine.protocol import jsonl
from engine.release.gguf_reading import Gguf
from engine.release.source import Source

LOOKED_AT = 9
"""Weights whose change is measured, of those that the adapter changes: from the first to the last, evenly spaced."""

HEAD, EMBEDDING = "lm_head.weight", "embed_tokens.weight"

GGUF_NAMES = {"down_proj": "ffn_down", "up_proj": "ffn_up"}
"""Weights that the converter neither splits nor permutes, by the end of their names."""


def tied_problem(folder: Path, base: Path) -> str:
    """What of the base's tensors a merged folder lacks, above all the output layer; "" where it is all there."""
    own, was = read_checkpoint(folder), read_checkpoint(base)
    shared = bool(own.config.get("tie_word_embeddings", was.config.get("tie_word_embeddings")))
    if bool(was.config.get("tie_word_embeddings")) != shared and "tie_word_embeddings" in was.config:
        return f"tie_word_embeddings is {shared} in config.json; the base model has {not shared}"
    heads = [name for name in own.tensors if name.endswith(HEAD)]
    if not shared and not heads:
        return "the output layer (lm_head) is missing, and is not tied to the embedding"
    lost = [name for name in was.tensors if name not in own.tensors and not (shared and name.endswith(HEAD))]
    if lost:
        return f"{len(lost):,} tensors of the base model are missing, such as {lost[0]}"
    embedding = next((name for name in own.tensors if name.endswith(EMBEDDING)), None)
    if shared and heads and embedding and not torch.equal(_read(folder, heads[0]), _read(folder, embedding)):
        return "the output layer and the embedding are tied, and differ in the files"
    return ""


def adapter_shares(folder: Path, gguf: Gguf | None, source: Source) -> list[float]:
    """The share of the adapter's change that some of an artefact's weights have: 1 where it is merged, 0 in the base.

    Each is the projection of (artefact - base) on (merged - base), so that the noise of rounding, which has no
    direction, hardly counts. None where the adapter changes nothing. `gguf` is the file where they are in one.
    """
    shares = []
    for name, change in changes(source, gguf is not None):
        base = _read(source.base.path, name).float()
        own = _read(folder, name).float() if gguf is None else torch.from_numpy(gguf.tensor(gguf_name(name)))
        size = float((change * change).sum())
        if size > 0:
            shares.append(float(((own - base) * change).sum()) / size)
    return shares


def changes(source: Source, for_gguf: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Some weights that the adapter changes, with the change, scale x B x A.

    Of DoRA the change is that of direction alone, which has most of it.
    """
    config = jsonl.read_json(source.adapter / "adapter_config.json") or {}
    with safe_open(source.adapter / "adapter_model.safetensors", "pt") as tensors:
        ends = tuple(f"{name}.lora_A.weight" for name in GGUF_NAMES) if for_gguf else (".lora_A.weight",)
        keys = sorted(key for key in tensors.keys() if key.endswith(ends))  # noqa: SIM118
        known = read_checkpoint(source.base.path).tensors
        usable = [(key, name) for key in keys if (name := _base_name(key, known)) is not None]
        places = {round(at * (len(usable) - 1) / (LOOKED_AT - 1)) for at in range(LOOKED_AT)} if usable else set()
        for key, name in [usable[at] for at in sorted(places)]:
            a, b = (tensors.get_tensor(one).float() for one in (key, key.replace("lora_A", "lora_B")))
            rank = a.shape[0]
            scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
            yield name, scale * (b @ a)


def _base_name(key: str, known: object) -> str | None:
    """The weight that an adapter's key changes, by the base's own name."""
    name = key.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
    names = known if isinstance(known, dict) else {}
    return name if name in names else next((one for one in names if one.endswith(name.removeprefix("model."))), None)


def gguf_name(name: str) -> str:
    """A weight's name in a GGUF file: model.layers.3.mlp.down_proj.weight is blk.3.ffn_down.weight."""
    parts = name.split(".")
    layer = parts[parts.index("layers") + 1]
    return f"blk.{layer}.{GGUF_NAMES[parts[-2]]}.weight"


def _read(folder: Path, name: str) -> torch.Tensor:
    """One tensor of a folder of safetensors. Raises KeyError where there is none of that name."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118
                return tensors.get_tensor(name)  # type: ignore[no-any-return]
    raise KeyError(f"no tensor {name}")
