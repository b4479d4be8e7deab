"""GGUF files as models to train: what their headers tell, and their conversion to safetensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.protocol.errors import InputError, LlamaDuoError

if TYPE_CHECKING:
    from transformers.integrations.gguf.reader import GgufHeader

ROUNDED_BITS = 6.0
"""Below this many bits a weight, on average, answers differ visibly from those of the 16-bit model."""

_OTHERWISE = "name a folder of safetensors or a Hub id in local.model"


def convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's weights, as bfloat16, and its tokenizer into a folder.

    Raises InputError where the file is malformed, incomplete, or of an architecture that transformers cannot read.
    """
    with _malformed(gguf):
        _refuse_architecture(gguf, _header(gguf))
        tokenizer, model = _load(gguf)
    # The weights are no longer quantised, but `save_pretrained` refuses a model that ever was.
    for trace in ("hf_quantizer", "is_quantized", "quantization_method"):
        if trace in vars(model):
            delattr(model, trace)
    if "quantization_config" in vars(model.config):
        del model.config.quantization_config
    tokenizer.save_pretrained(str(folder))
    model.save_pretrained(str(folder))


def rounding(gguf: Path) -> str:
    """That the weights of a file were rounded to few bits, in a sentence, or "" where they were not."""
    with _malformed(gguf):
        header = _header(gguf)
    weights = sum(math.prod(info.shape) for info in header.tensors if len(info.shape) > 1)
    stored = sum(info.nbytes for info in header.tensors if len(info.shape) > 1)
    bits = 8 * stored / max(1, weights)
    if bits >= ROUNDED_BITS:
        return ""
    return (
        f"{gguf.name} stores its weights in {bits:.1f} bits on average: training starts from rounded weights, so name "
        "the 16-bit safetensors in local.model where they exist"
    )


@contextmanager
def _malformed(gguf: Path) -> Iterator[None]:
    """Readers raise nearly everything for files that are cut off, hostile, or whose vocabulary fits no merges."""
    try:
        yield
    except LlamaDuoError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(f"{gguf.name}: cannot be converted: {reason}", _OTHERWISE) from error


def _header(gguf: Path) -> GgufHeader:
    from transformers.integrations.gguf.reader import GgufHeader

    return GgufHeader.from_file(str(gguf))


def _refuse_architecture(gguf: Path, header: GgufHeader) -> None:
    from transformers.integrations.gguf.utils import is_gguf_arch_supported
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    known = {name.replace("_", "") for name in GGUF_SUPPORTED_ARCHITECTURES}
    if not is_gguf_arch_supported(header.architecture) and header.architecture.replace("-", "") not in known:
        raise InputError(
            f"{gguf.name}: transformers cannot read GGUF files of {header.architecture} models", _OTHERWISE
        )
    end = max((info.offset + info.nbytes for info in header.tensors), default=0)
    if (size := gguf.stat().st_size) < header.data_start + end:
        raise InputError(f"{gguf.name}: incomplete: {size:,} of {header.data_start + end:,} bytes", "download it again")


def _load(gguf: Path) -> tuple[Any, Any]:
    """The tokenizer and the model of a file, all of whose weights were found in it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from engine.local.differences import refuse_differences

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    model, info = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    refuse_differences(gguf.name, model.config, info, {})
    return tokenizer, model
