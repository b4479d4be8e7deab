"""The formats of a release: `base` says what one does, each other module is one of them or a part of several."""

from __future__ import annotations

from collections.abc import Sequence

from engine.protocol.errors import InputError
from engine.release.formats.base import Format
from engine.release.formats.gguf import QUANTIZATIONS, Gguf
from engine.release.formats.lora import Lora
from engine.release.formats.safetensors import Safetensors

FORMATS = ("safetensors", "lora", "gguf")


def chosen_formats(names: Sequence[str], quantizations: Sequence[str]) -> list[Format]:
    """The formats of these names; GGUF once for each quantization.

    Raises InputError for an unknown name, or quantizations without GGUF.
    """
    for name, known in [(name, FORMATS) for name in names] + [(one, QUANTIZATIONS) for one in quantizations]:
        if name not in known:
            raise InputError(f"{name!r}: unknown to a release", f"choose from {', '.join(known)}")
    if quantizations and "gguf" not in names:
        raise InputError("--quantize is for GGUF files", "add --format gguf")
    gguf = [Gguf(one) for one in QUANTIZATIONS if one in (quantizations or QUANTIZATIONS)] if "gguf" in names else []
    others: list[Format] = [Safetensors()] if "safetensors" in names else []
    return [*others, *([Lora()] if "lora" in names else []), *gguf]
