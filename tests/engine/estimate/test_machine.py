"""Memory by hand-computed values, for two shapes."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from engine.estimate.machine import answering_memory, training_memory
from engine.local.device import Device
from engine.local.lora import add_adapter
from engine.local.training.fit import Fit
from engine.local.training.memory import memory
from engine.settings.schema import Migration


class Shape(NamedTuple):
    """A model's architecture and sizes, and the rank of its adapter."""

    kind: str
    sizes: dict[str, Any]
    rank: int


# 64,000 embeddings, 2 layers of 36,864 in matrices and 128 in norms, 64 in the last norm; 8,192 in the adapter.
TIED = Shape(
    "llama",
    {
        "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
    4,
)  # fmt: skip
# Twice 16,000 embeddings, 3 layers of 11,264 in matrices and 96 in norms, 32 in the last norm; 3,456 in the adapter.
WIDE_HEADS = Shape(
    "qwen3",
    {
        "vocab_size": 500, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": False,
    },
    2,
)  # fmt: skip
GPU = Device("cuda", "a GPU", "bfloat16", True, 1 << 34, 1 << 34)
APPLE = Device("mps", "a Mac", "float32", False, 1 << 34, 1 << 34)
PROCESSOR = Device("cpu", "a processor", "bfloat16", True, 1 << 34, 1 << 34)
PROCESS = 629_145_600


def settings(rank: int = 4, quantization: str = "none", **tables: Any) -> Migration:
    local = {"quantization": quantization, "adapter": {"r": rank, "alpha": rank}}
    return Migration.model_validate(
        {"coverage": {"source": "-"}, "service": {"model": "sandbox"}, "local": local, **tables}
    )


def skeleton(shape: Shape, given: Migration) -> PeftModel:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(shape.kind, **shape.sizes))
        return add_adapter(model, given.local.adapter)


@pytest.mark.parametrize(
    ("shape", "device", "quantization", "batch", "tokens", "needed"),
    [
        # 2 bytes each; a sequence: cache 128 * 2 * 150 and an eighth, prompt 12 * 64 * 2 * 100, logits 16 * 1,000.
        (TIED, GPU, "none", None, (100, 50), (2 * 146_240 + 212_800) * 1.1),
        (TIED, GPU, "none", 4, (100, 50), (2 * 146_240 + 4 * 212_800) * 1.1),
        # 73,728 of the weights take 4 bits, an 8-bit scale for 64, and a 32-bit scale for 256 of these: 38,034 bytes.
        (TIED, PROCESSOR, "nf4", None, (100, 50), (PROCESS + 38_034 + 2 * 72_512 + 212_800) * 1.1),
        # 4 bytes each; a sequence: cache 96 * 4 * 30 and an eighth, prompt 12 * 32 * 4 * 10, logits 16 * 500.
        (WIDE_HEADS, APPLE, "none", None, (10, 20), (4 * 69_568 + 36_320) * 1.1),
        (WIDE_HEADS, PROCESSOR, "none", 32, (10, 20), (PROCESS + 2 * 69_568 + 32 * 22_160) * 1.1),
    ],
)
def test_answering_takes_the_weights_and_what_each_sequence_adds(
    shape: Shape, device: Device, quantization: str, batch: int | None, tokens: tuple[int, int], needed: float
) -> None:
    prompt, response = tokens
    given = settings(shape.rank, quantization, inference={"batch_size": batch, "max_new_tokens": response})
    assert answering_memory(skeleton(shape, given), given, device, prompt) == pytest.approx(needed, abs=1)


def test_a_server_s_memory_is_not_counted_here() -> None:
    given = settings(inference={"backend": "vllm"})
    assert answering_memory(skeleton(TIED, given), given, GPU, 100) == 0


@pytest.mark.parametrize(("processes", "pairs"), [(None, 8), (2, 4), (8, 1)])
def test_processes_share_the_pairs_of_a_step(processes: int | None, pairs: int) -> None:
    compute = {"launcher": "torchrun", "processes": processes}
    given = settings(compute=compute, finetune={"batch_size": 8})
    model = skeleton(TIED, given)
    needed = memory(model, given, PROCESSOR).bytes(Fit(pairs, False), 100)
    assert training_memory(model, given, PROCESSOR, 100) == needed
