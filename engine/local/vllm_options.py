"""What vLLM must be told about an adapter and this machine, in training's backend and in serving alike."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import psutil

from engine.local.gpus import installed, visible

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM has for the largest rank."""

MEMORY_SHARE = "--gpu-memory-utilization"
"""On a processor, it is the share of main memory."""

MOST = 0.9
"""vLLM's own share of a GPU that is all free."""

OF_FREE = {"GPU": 0.95, "main": 0.7}
"""The share of what is free: vLLM's own start takes some of a GPU, and other programs live in main memory."""


def lora_rank(rank: int) -> int:
    """The least of vLLM's largest ranks that an adapter of this rank fits into."""
    return next((one for one in LORA_RANKS if one >= rank), LORA_RANKS[-1])


def sampling(folder: str, temperature: float) -> list[str]:
    """What vLLM samples by where a request names nothing: generation_config.json in `folder`, at the temperature.

    By itself it takes an adapter's base, and of answers that are not drawn it knows nothing: it ignores do_sample.
    """
    drawn = json.dumps({"temperature": temperature})
    return ["--generation-config", folder, "--override-generation-config", drawn]


def memory_share(own: Sequence[str] = ()) -> list[str]:
    """The share of memory for vLLM, from what is free now; none where the user's `own` arguments name one.

    By itself vLLM takes a fixed share of all memory, and doesn't start where other programs hold some of that.
    """
    if any(word.partition("=")[0].replace("_", "-") == MEMORY_SHARE for word in own):
        return []
    if installed():  # without a driver, an environment that names GPUs shows none
        gpus = visible(os.environ)
        free = [OF_FREE["GPU"] * gpu.free / gpu.total for gpu in gpus if gpu.free is not None and gpu.total]
    else:
        memory = psutil.virtual_memory()
        free = [OF_FREE["main"] * memory.available / memory.total]
    share = min([MOST, *free])
    return [MEMORY_SHARE, f"{max(0.01, share):.2f}"]
