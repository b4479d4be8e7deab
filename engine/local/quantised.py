"""Refuses checkpoints whose weights are quantised, from their files alone: what is read wrongly trains on noise.

Only weights of bitsandbytes in 4 bits are read as they are, with `quantization = "nf4"`: it is the format in which
QLoRA trains. All others would have to be expanded first, and their 16-bit originals are as easy to have and more exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.local.checkpoint import Checkpoint, Tensor, read_checkpoint
from engine.local.resolve import ResolvedModel
from engine.protocol.errors import InputError
from engine.settings.local import Local

_NAMES = {
    "gptq": "GPTQ", "awq": "AWQ", "fp8": "FP8", "fbgemm_fp8": "FP8", "mxfp4": "MXFP4", "mxfp8": "MXFP8",
    "nvfp4": "NVFP4", "bitsandbytes": "bitsandbytes", "hqq": "HQQ", "quanto": "Quanto", "torchao": "torchao",
    "compressed-tensors": "compressed-tensors", "auto-round": "AutoRound", "aqlm": "AQLM", "vptq": "VPTQ",
    "eetq": "EETQ", "bitnet": "BitNet", "exl2": "EXL2", "exl3": "EXL3", "modelopt": "ModelOpt",
}  # fmt: skip

_BNB = re.compile(
    r"\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__\w+|SCB|weight_format)$"
)
_TRACES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.(qweight|qzeros|g_idx)$"), "GPTQ or AWQ"),
    (re.compile(r"\.(q_weight|q_scale|q_invperm|trellis)$"), "EXL2 or EXL3"),
    (re.compile(r"\.(weight_packed|weight_zero_point)$"), "compressed-tensors"),
    (re.compile(r"(_blocks|\.blocks)$"), "MXFP4"),
    (re.compile(r"(weight_scale_inv|weight_scale|input_scale|scale_inv|\.k_scale|\.v_scale)(_\d+)?$"), "FP8"),
    (re.compile(r"\.(W_q|weight\._data|weight\._scale)$"), "HQQ or Quanto"),
    (re.compile(r"(:qdata|:scale|:zero_point)$"), "torchao"),
    (_BNB, "bitsandbytes"),
)
"""Names of tensors that only quantised weights have: a config.json may have lost its word on them."""

_SUFFIX = re.compile(
    r"[-_.](unsloth[-_])?(gptq|awq|fp8|fp4|nvfp4|mxfp4|int[48]|w[48]a(8|16)|[48]-?bits?|bnb|hqq|quanto|torchao|exl[23]|mlx|"
    r"dynamic|marlin|gguf|quantized|g?128|autoround|auto-round|ao|4bit|8bit)(?=$|[-_.])",
    re.IGNORECASE,
)
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_COUNTERS = re.compile(r"(position_ids|num_batches_tracked|attn\.bias|attention\.bias|masked_bias|attn_bias|inv_freq)$")
"""Buffers of older checkpoints that hold no weights."""


def usable_checkpoint(resolved: ResolvedModel, local: Local) -> Checkpoint:
    """The tensors of a model on disk. Raises InputError where its files are incomplete, quantised in another way, or
    have an adapter among them."""
    checkpoint = read_checkpoint(resolved.path)
    if (resolved.path / "adapter_config.json").exists():
        raise InputError(
            f"{resolved.name}: has a LoRA adapter beside its weights (adapter_config.json), which would be loaded too",
            f"remove the adapter's files from {resolved.path}, or merge the adapter into the weights",
        )
    refuse_quantised(resolved.name, checkpoint, local.quantization)
    return checkpoint


def refuse_quantised(name: str, checkpoint: Checkpoint, quantization: str) -> None:
    """Raise InputError where a checkpoint's weights are not those that its architecture computes with.

    `quantization` is the setting: 4-bit weights of bitsandbytes are read with nf4.
    """
    method = _method(checkpoint.config)
    traces = _traces(checkpoint.tensors)
    if method is None and traces is None:
        _refuse_integers(name, checkpoint.tensors)
        return
    kind = _NAMES.get(method or "", method) or traces
    if method == "bitsandbytes" and traces is None:
        _refuse_integers(name, checkpoint.tensors)  # config.json speaks of weights that were since merged
        return
    if is_bnb_4bit(checkpoint):
        if quantization == "nf4":
            return
        raise InputError(
            f"{name}: its weights are quantised to 4 bits (bitsandbytes)",
            f'set local.quantization to "nf4", or take the 16-bit weights{original(name)}',
        )
    raise InputError(
        f"{name}: its weights are quantised ({kind}), which cannot be trained on here",
        f"take the 16-bit weights{original(name)}",
    )


def is_bnb_4bit(checkpoint: Checkpoint) -> bool:
    """Whether weights are stored in the 4-bit format of bitsandbytes, two in a byte."""
    stored = any(".quant_state.bitsandbytes__" in name for name in checkpoint.tensors)
    return stored and _method(checkpoint.config) == "bitsandbytes"


def packed_sizes(checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a checkpoint as they are once unpacked: 4-bit weights have the `expected` sizes of their names.

    Where the number of packed weights is another, a tensor keeps its own size, which then fits nothing.
    """
    packed = {name.partition(".quant_state.")[0] for name in checkpoint.tensors if ".quant_state." in name}
    tensors = {}
    for name, tensor in checkpoint.tensors.items():
        if name in packed and tensor.dtype == "U8":
            shape = expected.get(name, ())
            whole = Tensor("BF16", shape)
            tensors[name] = whole if -(-whole.elements // 2) == tensor.elements else tensor
        elif not _BNB.search(name):
            tensors[name] = tensor
    return tensors


def original(name: str) -> str:
    """Where the 16-bit weights may be, as the end of a hint: a quantised repository is named after its original."""
    if "gpt-oss" in name.lower():
        size = "120b" if "120b" in name else "20b"
        return f", such as unsloth/gpt-oss-{size}-BF16"
    found = _SUFFIX.search(name)
    plain = name[: found.start()] if found else ""
    return f", perhaps {plain}" if "/" in plain else " that it was made from"


def _method(config: Mapping[str, Any]) -> str | None:
    """The kind of quantisation that config.json names, None where it names none."""
    text = config.get("text_config")
    for table in (config, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config", "quantization"):
            found = table.get(key)
            if not isinstance(found, dict) or not found:
                continue
            if key == "quantization":
                return "MLX"
            if method := found.get("quant_method"):
                return str(method).lower()
            bits = found.get("load_in_4bit") or found.get("load_in_8bit")
            return "bitsandbytes" if bits or "load_in_4bit" in found else "of an unknown kind"
    return None


def _traces(tensors: Mapping[str, Tensor]) -> str | None:
    """The kind of quantisation that the names of tensors betray."""
    if any(tensor.dtype == "U32" for tensor in tensors.values()):
        return "MLX"
    return next((kind for pattern, kind in _TRACES if any(map(pattern.search, tensors))), None)


def _refuse_integers(name: str, tensors: Mapping[str, Tensor]) -> None:
    for tensor, found in tensors.items():
        if found.dtype not in _FLOATS and not _COUNTERS.search(tensor):
            raise InputError(
                f"{name}: the tensor {tensor} has the format {found.dtype}, where weights are 16- or 32-bit floats",
                f"take the 16-bit weights{original(name)}",
            )
