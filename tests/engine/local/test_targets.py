"""Layers by the setting's names, and the kinds of layers that never get an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import PreTrainedModel

from engine.local.device import Device
from engine.local.load import load_base, load_model
from engine.local.lora import add_adapter
from engine.local.targets import ALIKE, EXPERTS, OTHER_PARTS, ROUTERS, Targets, find_targets
from engine.protocol.errors import InputError
from engine.settings.local import Adapter, Local
from tests.engine.local.architectures import DENSE, TABLE, make
from tests.engine.local.architectures import EXPERTS as EXPERT_SIZES
from tests.engine.local.test_architectures import logits, step

FLOAT32 = Device("cpu", "", "float32", False, 1 << 33, 1 << 33)
MOE = DENSE | EXPERT_SIZES | {"moe_intermediate_size": 16}


def empty(family: str, sizes: dict[str, Any]) -> PreTrainedModel:
    """A model without memory for its weights."""
    with torch.device("meta"):
        config = getattr(transformers, f"{family}Config")(**sizes)
        suffix = "ForConditionalGeneration" if family == "Gemma3" else "ForCausalLM"
        model: PreTrainedModel = getattr(transformers, f"{family}{suffix}")(config)
        return model


def llama(wanted: str | list[str]) -> Targets:
    return find_targets(empty(*TABLE["llama"]), wanted)


@pytest.mark.parametrize(
    ("wanted", "count", "suffixes"),
    [
        ("all-linear", 14, ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]),
        (["q_proj", "v_proj"], 4, ["q_proj", "v_proj"]),
        (["mlp.up_proj"], 2, ["up_proj"]),
        (["model.layers.0.mlp.up_proj"], 1, ["up_proj"]),
        (r".*\.1\.self_attn\.(q|k)_proj", 2, ["k_proj", "q_proj"]),
    ],
)
def test_layers_are_named_whole_by_their_ends_or_by_an_expression(
    wanted: str | list[str], count: int, suffixes: list[str]
) -> None:
    targets = llama(wanted)
    assert len(targets.modules) == count and targets.suffixes == suffixes


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["q_proj", "query"], "'query' matches no layer that can be trained"),
        (["lm_head"], "'lm_head' matches no layer"),
        ("q_proj", "'q_proj' matches no layer"),
        ("(", "invalid regular expression '('"),
    ],
)
def test_names_that_match_nothing_are_refused_with_those_that_do(wanted: str | list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        llama(wanted)
    assert message in caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    ("family", "sizes", "frozen"),
    [
        ("Phimoe", DENSE | {"num_local_experts": 4}, {ROUTERS: 2, EXPERTS: 4}),
        (
            "Qwen2Moe",
            MOE | {"num_experts": 4, "shared_expert_intermediate_size": 16, "decoder_sparse_step": 1},
            {ROUTERS: 2, EXPERTS: 4},
        ),
        (
            "Glm4Moe",
            MOE | {"n_routed_experts": 4, "first_k_dense_replace": 1, "head_dim": 8},
            {ALIKE: 6, EXPERTS: 2},
        ),
        ("Gemma3", TABLE["gemma3-vision"][1], {OTHER_PARTS: 9}),
    ],
)
def test_routers_experts_and_other_parts_stay_frozen(
    family: str, sizes: dict[str, Any], frozen: dict[str, int]
) -> None:
    model = empty(family, sizes)
    targets = find_targets(model, "all-linear")
    assert {reason: len(names) for reason, names in targets.frozen.items()} == frozen
    adapted = {
        name.rpartition(".lora_A")[0] for name, _ in add_adapter(model, Adapter()).named_modules() if ".lora_A" in name
    }
    assert {name.removeprefix("base_model.model.") for name in adapted if name} == set(targets.modules)


def test_a_layer_that_multiplies_by_hand_is_a_layer() -> None:
    sizes = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    assert len(find_targets(empty("Falcon", sizes), "all-linear").modules) == 8


def test_the_expression_for_vision_parts_is_short() -> None:
    targets = find_targets(empty(*TABLE["gemma3-vision"]), "all-linear")
    assert targets.excluded == r"model\.vision_tower(\..*)?"
    assert find_targets(empty(*TABLE["llama"]), "all-linear").excluded is None


def test_experts_are_trained_where_they_are_named(tmp_path: Path) -> None:
    resolved = make("qwen3-moe", tmp_path)
    wanted = ["q_proj", "experts.gate_up_proj", "experts.down_proj"]
    with pytest.raises(InputError, match="without dropout") as caught:
        add_adapter(load_base(resolved, Local(), FLOAT32), Adapter(target_modules=wanted))
    assert "local.adapter.dropout to 0" in caught.value.hint
    model = add_adapter(load_base(resolved, Local(), FLOAT32), Adapter(r=4, dropout=0, target_modules=wanted))
    step(model)
    model.save_pretrained(str(tmp_path / "adapter"))
    assert any("experts" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    merged = load_model(resolved, Local(), FLOAT32, tmp_path / "adapter")
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-3, atol=1e-3)
