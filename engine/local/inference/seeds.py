"""Seeds and names by content, for servers that draw each sample alone and know a model by its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.local.inference.base import Sample
from engine.protocol.manifest import file_hash

WEIGHTS = "adapter_model.safetensors"


def sample_seed(seed: int, sample: Sample) -> int:
    """31 bits of the SHA-256 of the run's seed and a sample."""
    text = f"{seed} {sample.prompt.id} {sample.number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def adapter_name(adapter: Path) -> str:
    """A name that no other adapter has, since a server may still know one of an earlier round or run."""
    return f"tuned-{file_hash(adapter / WEIGHTS)[:8]}"
