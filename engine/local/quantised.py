"""Refuses checkpoints whose weights are quantised, from their files alone: what is read wrongly trains on noise.

Only weights of bitsandbytes in 4 bits are read as they are, with `quantization = "nf4"`: it is the format in which
QLoRA trains. All others would have to be expanded first, and their 16-bit originals are as easy to have and more exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.local import quantization_config
from engine.local.checkpoint import Checkpoint, Tensor, read_checkpoint
from engine.local.resolve import ResolvedModel
from engine.protocol.errors import InputError
from engine.settings.local import Local

_BNB = re.compile(
    r"\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__\w+|SCB|weight_format)$"
)
_TRACES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.(qweight|qzeros|g_idx)$"), "GPTQ or AWQ"),
    (re.compile(r"\.(q_weight|q_scale|q_invperm|trellis)$"), "EXL2 or EXL3"),
    (re.compile(r"\.(weight_packed|weight_zero_point|bitmask)$"), "compressed-tensors"),
    (re.compile(r"\.weight_scale_2$"), "NVFP4"),
    (re.compile(r"(:|weight_)(qdata|zero_point)$|:scale$"), "torchao"),
    (re.compile(r"(_blocks|\.blocks)$"), "MXFP4"),
    (re.compile(r"(weight_scale_inv|weight_scale|input_scale|scale_inv|\.k_scale|\.v_scale)(_\d+)?$"), "FP8"),
    (re.compile(r"\.(W_q|weight\._data|weight\._scale)$"), "HQQ or Quanto"),
    (re.compile(r"\.(Qidxs(_\d+)?|codebooks|centroids\.weight)$"), "by codebooks"),
    (re.compile(r"\.weight_scales$"), "EETQ"),
    (_BNB, "bitsandbytes"),
)
"""Names of tensors that only quantised weights have: a config.json may have lost its word on them."""

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_COUNTERS = re.compile(r"(position_ids|num_batches_tracked|attn\.bias|attention\.bias|masked_bias|attn_bias|inv_freq)$")
"""Buffers of older checkpoints that hold no weights."""


def usable_checkpoint(resolved: ResolvedModel, local: Local) -> Checkpoint:
    """The tensors of a model on disk. Raises InputError where its files are incomplete, quantised in another way, or
    have an adapter among them."""
    checkpoint = read_checkpoint(resolved.path)
    if (resolved.path / "adapter_config.json").exists():
        raise InputError(
            f"{resolved.name}: has a LoRA adapter next to its weights (adapter_config.json), which would be loaded too",
            f"remove the adapter's files from {resolved.path}, or merge the adapter into the weights",
        )
    refuse_quantised(resolved.name, checkpoint, local.quantization)
    return checkpoint


def refuse_quantised(name: str, checkpoint: Checkpoint, quantization: str) -> None:
    """Raise InputError where a checkpoint's weights are not those that its architecture computes with.

    `quantization` is the setting: 4-bit weights of bitsandbytes are read with nf4.
    """
    method = quantization_config.method(checkpoint.config)
    traces = _traces(checkpoint.tensors)
    if method is None and traces is None:
        _refuse_integers(name, checkpoint.tensors)
        return
    if method == "bitsandbytes" and traces is None:
        _refuse_integers(name, checkpoint.tensors)  # config.json speaks of weights that were since merged
        return
    if is_bnb_4bit(checkpoint):
        if quantization == "nf4":
            return
        raise InputError(
            f"{name}: its weights are quantised to 4 bits (bitsandbytes)",
            f'set local.quantization to "nf4", or take the 16-bit weights{quantization_config.original(name)}',
        )
    raise quantization_config.quantised(name, quantization_config.name_of(method) if method else str(traces))


def is_bnb_4bit(checkpoint: Checkpoint) -> bool:
    """Whether weights are stored in the 4-bit format of bitsandbytes, two in a byte."""
    stored = any(".quant_state.bitsandbytes__" in name for name in checkpoint.tensors)
    return stored and quantization_config.method(checkpoint.config) == "bitsandbytes"


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


def _traces(tensors: Mapping[str, Tensor]) -> str | None:
    """The kind of quantisation that the names of tensors betray."""
    formats = {tensor.dtype for tensor in tensors.values()}
    if "U32" in formats:
        return "MLX"
    found = next((kind for pattern, kind in _TRACES if any(map(pattern.search, tensors))), None)
    return "8-bit integers" if found == "FP8" and "I8" in formats else found


def _refuse_integers(name: str, tensors: Mapping[str, Tensor]) -> None:
    for tensor, found in tensors.items():
        if found.dtype not in _FLOATS and not _COUNTERS.search(tensor):
            raise InputError(
                f"{name}: the tensor {tensor} has the format {found.dtype}, where weights are 16- or 32-bit floats",
                f"take the 16-bit weights{quantization_config.original(name)}",
            )
