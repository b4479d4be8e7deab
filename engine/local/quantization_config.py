"""What config.json says of quantised weights: enough to refuse a model before its weights are fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.protocol.errors import InputError

_NAMES = {
    "gptq": "GPTQ", "awq": "AWQ", "fp8": "FP8", "fbgemm_fp8": "FP8", "mxfp4": "MXFP4", "mxfp8": "MXFP8",
    "nvfp4": "NVFP4", "bitsandbytes": "bitsandbytes", "hqq": "HQQ", "quanto": "Quanto", "torchao": "torchao",
    "compressed-tensors": "compressed-tensors", "auto-round": "AutoRound", "aqlm": "AQLM", "vptq": "VPTQ",
    "eetq": "EETQ", "bitnet": "BitNet", "exl2": "EXL2", "exl3": "EXL3", "modelopt": "ModelOpt",
}  # fmt: skip

_SUFFIX = re.compile(
    r"[-_.](unsloth[-_])?(gptq|awq|fp8|fp4|nvfp4|mxfp4|int[48]|w[48]a(8|16)|[48]-?bits?|bnb|hqq|quanto|torchao|exl[23]|mlx|"
    r"dynamic|marlin|gguf|quantized|g?128|autoround|auto-round|ao|4bit|8bit)(?=$|[-_.])",
    re.IGNORECASE,
)


def method(config: Mapping[str, Any]) -> str | None:
    """The kind of quantisation that config.json names, None where it names none."""
    text = config.get("text_config")
    for table in (config, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config", "quantization"):
            found = table.get(key)
            if not found:
                continue
            if not isinstance(found, dict):
                return found.lower() if isinstance(found, str) else "of an unknown kind"
            if key == "quantization":
                return "MLX"
            if named := found.get("quant_method"):
                return str(named).lower()
            bits = found.get("load_in_4bit") or found.get("load_in_8bit")
            return "bitsandbytes" if bits or "load_in_4bit" in found else "of an unknown kind"
    return None


def name_of(method: str) -> str:
    """A method as people write it."""
    return _NAMES.get(method, method)


def quantised(name: str, kind: str) -> InputError:
    """The error for a model whose weights are quantised in a way that is not read."""
    return InputError(
        f"{name}: its weights are quantised ({kind}), which cannot be trained on here",
        f"take the 16-bit weights{original(name)}",
    )


def original(name: str) -> str:
    """Where the 16-bit weights may be, as the end of a hint: a quantised repository is named after its original."""
    if "gpt-oss" in name.lower():
        size = "120b" if "120b" in name else "20b"
        return f", such as unsloth/gpt-oss-{size}-BF16"
    found = _SUFFIX.search(name)
    plain = name[: found.start()] if found else ""
    return f", perhaps {plain}" if "/" in plain else " that it was made from"
