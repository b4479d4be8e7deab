"""Ways in which folders of models come broken or quantised, each as a change to a good one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Break = Callable[[Path], None]
Tensors = dict[str, torch.Tensor]

LAYER = "model.layers.1.mlp.up_proj"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n"


def tensors(change: Callable[[Tensors], None], **config: Any) -> Break:
    """A change of the tensors, and of config.json."""

    def apply(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))

    return apply


def packed(*suffixes: str, dtype: torch.dtype = torch.int32, method: str | None = None, **other: Any) -> Break:
    """The weight of a layer as tensors of other names, as a kind of quantisation stores it."""

    def change(found: Tensors) -> None:
        weight = found.pop(f"{LAYER}.weight")
        found |= {f"{LAYER}.{suffix}": torch.zeros(weight.shape[0], 4).to(dtype) for suffix in suffixes}

    return tensors(change, **({"quantization_config": {"quant_method": method, **other}} if method else {}))


def _fp8(found: Tensors) -> None:
    found[f"{LAYER}.weight"] = found[f"{LAYER}.weight"].to(torch.float8_e4m3fn)
    found[f"{LAYER}.weight_scale_inv"] = torch.ones(1, 1)


def _mxfp4(found: Tensors) -> None:
    found.pop(f"{LAYER}.weight")
    found["model.layers.1.mlp.experts.gate_up_proj_blocks"] = torch.zeros(4, 8, 2, 16, dtype=torch.uint8)
    found["model.layers.1.mlp.experts.gate_up_proj_scales"] = torch.zeros(4, 8, 2, dtype=torch.uint8)


def _bnb_8bit(found: Tensors) -> None:
    found[f"{LAYER}.weight"] = found[f"{LAYER}.weight"].to(torch.int8)
    found[f"{LAYER}.SCB"] = torch.ones(48)


def _mlx(found: Tensors) -> None:
    found[f"{LAYER}.weight"] = torch.zeros(48, 4, dtype=torch.uint32)
    found[f"{LAYER}.scales"] = found[f"{LAYER}.biases"] = torch.zeros(48, 1)
    found[f"{LAYER}.biases"] = torch.ones(48, 1)


def _rename(found: Tensors) -> None:
    for name in list(found):
        found[f"_orig_mod.{name}"] = found.pop(name)


def without(name: str) -> Callable[[Tensors], None]:
    """A change that leaves a tensor out."""

    def change(found: Tensors) -> None:
        del found[name]

    return change


def _rows(count: int) -> Break:
    def change(found: Tensors) -> None:
        name = "model.embed_tokens.weight"
        found[name] = torch.zeros(count, found[name].shape[1])

    return tensors(change)


def _bytes(change: Callable[[bytes], bytes], name: str = "model.safetensors") -> Break:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


def _shards(folder: Path, present: int, index: bool = True) -> None:
    found = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(found)
    parts = [names[:5], names[5:]]
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for part, file in list(zip(parts, files, strict=True))[:present]:
        save_file({name: found[name] for name in part}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for part, file in zip(parts, files, strict=True) for name in part}
    if index:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def header(change: Callable[[dict[str, Any]], str]) -> Break:
    """A change of the header; the tensors stay as they are."""

    def apply(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        written = change(json.loads(content[8 : 8 + length])).encode()
        return len(written).to_bytes(8, "little") + written + content[8 + length :]

    return _bytes(apply)


def _index(change: Callable[[dict[str, Any]], object]) -> Break:
    def apply(folder: Path) -> None:
        _shards(folder, 2)
        file = folder / "model.safetensors.index.json"
        index = json.loads(file.read_text())
        change(index)
        file.write_text(json.dumps(index))

    return apply


def _wider_shard(folder: Path) -> None:
    """The second part is that of a model of twice the size."""
    _shards(folder, 2)
    file = folder / "model-00002-of-00002.safetensors"
    wider = {name: torch.zeros([2 * size for size in found.shape]) for name, found in load_file(file).items()}
    save_file(wider, file, metadata={"format": "pt"})


def _downloading(folder: Path) -> None:
    """As aria2 does it: the file has its whole size from the start, and a record beside it until the end."""
    (folder / "model.safetensors.aria2").write_bytes(b"record")


def _other_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")


def whole_shards(folder: Path) -> None:
    """Nothing broken: two parts and their index."""
    _shards(folder, 2)


QUANTISED: dict[str, tuple[Break, str]] = {
    "gptq": (packed("qweight", "qzeros", "scales", "g_idx", method="gptq", bits=4), "quantised (GPTQ)"),
    "awq": (packed("qweight", "qzeros", "scales", method="awq", bits=4), "quantised (AWQ)"),
    "gptq-unsaid": (packed("qweight", "qzeros", "scales"), "quantised (GPTQ or AWQ)"),
    "fp8": (tensors(_fp8, quantization_config={"quant_method": "fp8"}), "quantised (FP8)"),
    "fp8-unsaid": (tensors(_fp8), "quantised (FP8)"),
    "compressed": (packed("weight_packed", "weight_scale", method="compressed-tensors"), "(compressed-tensors)"),
    "mxfp4": (tensors(_mxfp4, quantization_config={"quant_method": "mxfp4"}), "quantised (MXFP4)"),
    "mxfp4-unsaid": (tensors(_mxfp4), "quantised (MXFP4)"),
    "bnb-8bit": (
        tensors(_bnb_8bit, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
        "quantised (bitsandbytes)",
    ),
    "hqq": (packed("W_q", method="hqq", dtype=torch.uint8), "quantised (HQQ)"),
    "quanto": (packed("weight._data", "weight._scale", method="quanto", dtype=torch.int8), "quantised (Quanto)"),
    "torchao": (packed("weight:qdata", "weight:scale", method="torchao"), "quantised (torchao)"),
    "torchao-unsaid": (packed("_weight_qdata", "_weight_scale", dtype=torch.int8), "quantised (torchao)"),
    "nvfp4-unsaid": (packed("weight_scale", "weight_scale_2", dtype=torch.uint8), "quantised (NVFP4)"),
    "int8-unsaid": (packed("weight", "weight_scale", dtype=torch.int8), "quantised (8-bit integers)"),
    "eetq": (packed("weight", "weight_scales", method="eetq", dtype=torch.int8), "quantised (EETQ)"),
    "eetq-unsaid": (packed("weight", "weight_scales", dtype=torch.int8), "quantised (EETQ)"),
    "aqlm-unsaid": (packed("codes", "codebooks", "scales", dtype=torch.int16), "quantised (by codebooks)"),
    "only-its-name": (tensors(lambda _: None, quantization_config="fp8"), "quantised (FP8)"),
    "mlx": (tensors(_mlx, quantization={"bits": 4, "group_size": 64}), "quantised (MLX)"),
    "unheard-of": (tensors(lambda _: None, quantization_config={"quant_method": "sparkle"}), "quantised (sparkle)"),
    "methodless": (tensors(lambda _: None, quantization_config={"bits": 3}), "quantised (of an unknown kind)"),
    "int8": (
        tensors(lambda found: found.update({f"{LAYER}.weight": found[f"{LAYER}.weight"].to(torch.int8)})),
        f"{LAYER}.weight has the format I8",
    ),
}
"""By name: the change, and a part of the message."""

BROKEN: dict[str, tuple[Break, str]] = {
    "pointer": (_bytes(lambda _: POINTER), "a Git LFS pointer"),
    "truncated": (_bytes(lambda content: content[:-100]), "incomplete"),
    "truncated-header": (_bytes(lambda content: content[:300]), "incomplete: it ends within its header"),
    "empty": (_bytes(lambda _: b""), "not a safetensors file"),
    "web-page": (_bytes(lambda _: b"<!DOCTYPE html><html>not found</html>"), "not a safetensors file"),
    "longer": (_bytes(lambda content: content + b"0000"), "damaged"),
    "numbers-in-metadata": (header(lambda rows: json.dumps({**rows, "__metadata__": {"a": 1}})), "expected a string"),
    "list-of-metadata": (header(lambda rows: json.dumps({**rows, "__metadata__": ["pt"]})), "expected a map"),
    "not-a-number": (
        header(lambda rows: json.dumps({**rows, "__metadata__": {"a": float("nan")}})),
        "not a safetensors",
    ),
    "downloading": (_downloading, "a download has not ended: model.safetensors.aria2"),
    "index-of-nothing": (_index(lambda index: index.pop("metadata")), "has no metadata"),
    "index-null": (_index(lambda index: index.update(metadata=None)), "has no metadata"),
    "shard-of-another": (_wider_shard, "where config.json asks for"),
    "config-not-json": (_bytes(lambda _: b"{", "config.json"), "not JSON"),
    "config-pointer": (_bytes(lambda _: POINTER, "config.json"), "a Git LFS pointer"),
    "shard-missing": (lambda folder: _shards(folder, 1), "1 of 2 weights files missing"),
    "index-missing": (lambda folder: _shards(folder, 2, index=False), "has parts of the weights"),
    "other-name": (
        _other_name,
        "weights.safetensors is not read",
    ),
    "layer-missing": (
        tensors(without(f"{LAYER}.weight")),
        f"the tensor {LAYER}.weight is missing",
    ),
    "misnamed": (tensors(_rename), "is missing (and 20 more); it has _orig_mod."),
    "wrong-size": (_rows(100), "has the sizes 100 x 32 where config.json asks for 259 x 32"),
    "extra-layer": (tensors(lambda _: None, num_hidden_layers=1), "has no place in a llama model"),
    "extra-bias": (
        tensors(lambda found: found.update({f"{LAYER}.bias": torch.ones(48)})),
        f"the tensor {LAYER}.bias has no place",
    ),
    "other-config": (tensors(lambda _: None, hidden_size=64, head_dim=8), "where config.json asks for"),
}
