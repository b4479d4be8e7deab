"""The estimated activations against those that backward really keeps, on small models of several architectures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen3Config,
)

from engine.local.device import Device
from engine.local.lora import add_adapter
from engine.local.training.fit import Fit
from engine.local.training.memory import TrainingMemory, first_fit, memory, overridden, room
from engine.local.training.rows import TokenRow
from engine.settings.local import Finetune
from engine.settings.schema import Migration

GIB = 2**30
CPU = Device("cpu", "", "float32", False, 16 * GIB, 8 * GIB)
SHAPE = {
    "vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PLAIN = {name: value for name, value in SHAPE.items() if name != "num_key_value_heads"}
DENSE = [
    LlamaConfig(**SHAPE),
    Qwen3Config(**SHAPE, head_dim=32),
    Phi3Config(**SHAPE),
    GPTNeoXConfig(**PLAIN),
]


def migration(dropout: float) -> Migration:
    local = {"adapter": {"r": 2, "alpha": 4, "dropout": dropout}}
    return Migration.model_validate({"coverage": {"source": "-"}, "service": {"model": "sandbox"}, "local": local})


def adapted(config: PreTrainedConfig, dropout: float, device: str) -> PeftModel:
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return add_adapter(model, migration(dropout).local.adapter)


def kept_bytes(model: PeftModel, rows: list[TokenRow]) -> int:
    """The bytes of all tensors that backward needs, without the model's own."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    base: Any = model.get_base_model()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        base.base_model(input_ids=torch.tensor([row.tokens for row in rows]), use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("config", DENSE, ids=lambda config: config.model_type)
def test_activations_are_those_that_backward_keeps(config: PreTrainedConfig, dropout: float) -> None:
    assert_is_kept(config, dropout)


def test_so_are_those_of_experts() -> None:
    assert_is_kept(MixtralConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2), 0.0)


def assert_is_kept(config: PreTrainedConfig, dropout: float) -> None:
    rows = [TokenRow([token % 60 for token in range(96)], 48) for _ in range(4)]
    model = adapted(config, dropout, "cpu").train()
    estimated = memory(adapted(AutoConfig.for_model(**config.to_dict()), dropout, "meta"), migration(dropout), CPU)
    assert estimated.token * 4 * 96 == pytest.approx(kept_bytes(model, rows), rel=0.25)


def test_weights_count_as_they_are_or_as_they_will_be() -> None:
    config = LlamaConfig(**SHAPE)
    model = adapted(config, 0.0, "cpu")
    loaded = memory(model, migration(0.0), CPU)
    assert memory(adapted(config, 0.0, "meta"), migration(0.0), CPU) == loaded
    local = migration(0.0).local.model_copy(update={"quantization": "nf4"})
    quantised = memory(adapted(config, 0.0, "meta"), migration(0.0).model_copy(update={"local": local}), CPU)
    assert quantised.fixed < loaded.fixed and quantised.token > loaded.token


def test_the_pass_is_the_largest_that_fits_and_recomputed_where_none_does() -> None:
    needed = TrainingMemory(fixed=GIB, token=2**20, layer=2**16, kept=2**14, logits=0)
    fits = [needed.fit(int(gib * GIB), 512, 8) for gib in (8, 4, 2, 1.7, 1.45, 1.2, 0)]
    assert fits == [
        Fit(8, False), Fit(4, False), Fit(1, False), Fit(1, False), Fit(8, True), Fit(2, True), Fit(1, True)
    ]  # fmt: skip


def test_of_a_gpu_only_what_is_free_counts() -> None:
    gpu = Device("cuda", "", "bfloat16", True, 16 * GIB, 8 * GIB)
    assert room(CPU, 1) == 2 * room(CPU, 2) > 8 * GIB
    assert room(gpu, 1) == room(gpu, 2) < 8 * GIB


def test_the_settings_override_what_fits() -> None:
    needed = TrainingMemory(fixed=GIB, token=2**20, layer=2**16, kept=2**14, logits=0)
    assert first_fit(needed, Finetune(batch_size=16), CPU, 512, 2) == Fit(4, False)
    assert first_fit(needed, Finetune(batch_size=16, micro_batch=12), CPU, 512, 2) == Fit(8, False)
    assert first_fit(needed, Finetune(gradient_checkpointing="on"), CPU, 512, 1) == Fit(8, True)
    assert overridden(Fit(8, True), Finetune(gradient_checkpointing="off"), 1) == Fit(8, False)
