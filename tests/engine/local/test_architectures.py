"""Each architecture of the table: it loads, takes an adapter where it should, trains, answers, merges, loads again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from engine.local.device import Device
from engine.local.load import load_base, load_model
from engine.local.lora import sized_adapter
from engine.local.shape import Shape
from engine.local.skeleton import skeleton
from engine.local.targets import EXPERTS, OTHER_PARTS, STATE_SPACE
from engine.settings.local import Adapter, Local
from tests.engine.local.architectures import TABLE, make

FLOAT32 = Device("cpu", "", "float32", False, 1 << 33, 1 << 33)
IDS = torch.tensor([[1, 50, 60, 70, 80, 90, 2], [1, 51, 61, 71, 81, 91, 2]])
ATTENTION = {"q_proj": 2, "k_proj": 2, "v_proj": 2, "o_proj": 2}
GATED = ATTENTION | {"gate_proj": 2, "up_proj": 2, "down_proj": 2}
LAYERS = {
    "phi3": {"qkv_proj": 2, "o_proj": 2, "gate_up_proj": 2, "down_proj": 2},
    "lfm2": {"q_proj": 1, "k_proj": 1, "v_proj": 1, "out_proj": 2, "in_proj": 1, "w1": 2, "w2": 2, "w3": 2},
    "qwen3-moe": ATTENTION,
    "mixtral": ATTENTION,
    "gpt-oss": ATTENTION,
    "granite-hybrid": {
        "q_proj": 1,
        "k_proj": 1,
        "v_proj": 1,
        "o_proj": 1,
        "in_proj": 1,
        "input_linear": 2,
        "output_linear": 2,
    },
    "falcon-h1": GATED | {"in_proj": 2},
}
FROZEN = {
    "qwen3-moe": {EXPERTS},
    "mixtral": {EXPERTS},
    "gpt-oss": {EXPERTS},
    "granite-hybrid": {EXPERTS, STATE_SPACE},
    "falcon-h1": {STATE_SPACE},
    "gemma3-vision": {OTHER_PARTS},
}
"""By architecture: the layers with an adapter, where they are not those of a llama, and the reasons for others."""


def step(model: PreTrainedModel | PeftModel) -> None:
    """One step on all weights that are trained."""
    model.train()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.05)
    for _ in range(2):  # the first moves B alone, as it starts at zero
        model(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=IDS, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def logits(model: PreTrainedModel | PeftModel) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
        return found


@pytest.mark.parametrize("name", TABLE)
def test_an_architecture_from_the_folder_to_the_merged_model(name: str, tmp_path: Path) -> None:
    resolved, settings = make(name, tmp_path), Adapter(r=4, alpha=8, dropout=0)
    assert Shape.of(skeleton(resolved, Local()).config).layers == 2
    base = load_base(resolved, Local(), FLOAT32)
    untuned = logits(base)
    torch.manual_seed(0)
    model, size = sized_adapter(base, settings)
    assert size.layers == LAYERS.get(name, GATED) and size.frozen.keys() == FROZEN.get(name, set())
    assert 0 < size.trained < size.total and size.sentence.startswith(f"training {size.trained:,} of ")
    before = {part: weight.clone() for part, weight in model.named_parameters()}
    step(model)
    moved = {part for part, weight in model.named_parameters() if not torch.equal(weight, before[part])}
    assert moved == {part for part in before if ".lora_" in part}

    tuned = logits(model)
    assert not torch.allclose(tuned, untuned, atol=1e-3)
    model.save_pretrained(str(tmp_path / "adapter"))
    merged = load_model(resolved, Local(), FLOAT32, tmp_path / "adapter")
    assert isinstance(merged, PreTrainedModel)
    torch.testing.assert_close(logits(merged), tuned, rtol=1e-3, atol=1e-3)
    answer = merged.generate(input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=3, do_sample=False)
    assert answer.shape[0] == 2 and 7 < answer.shape[1] <= 10
