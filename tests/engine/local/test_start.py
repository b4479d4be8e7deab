"""An adapter to go on from: each tensor in its place, or the file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from engine.local.lora import add_adapter
from engine.local.start import WEIGHTS, load_start
from engine.protocol.errors import InputError
from engine.settings.local import Adapter


def made(r: int = 2) -> PeftModel:
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    return add_adapter(LlamaForCausalLM(config), Adapter(r=r))


def saved(folder: Path, r: int = 2, **changed: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Write an adapter of random numbers, with some tensors changed, or left out where they are None."""
    tensors = {name: torch.randn_like(one) for name, one in get_peft_model_state_dict(made(r)).items()}
    tensors |= {name: one for name, one in changed.items() if one is not None}
    tensors = {name: one for name, one in tensors.items() if changed.get(name, one) is not None}
    save_file(tensors, folder / WEIGHTS)
    return tensors


NAME = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"


def test_all_weights_are_taken(tmp_path: Path) -> None:
    tensors, model = saved(tmp_path), made()
    load_start(model, tmp_path)
    found = get_peft_model_state_dict(model)
    assert found.keys() == tensors.keys() and NAME in tensors
    assert all(torch.equal(found[name], one) for name, one in tensors.items())


@pytest.mark.parametrize(
    ("r", "changed", "said"),
    [
        (2, {NAME: None}, "1 of 14 tensors are missing, such as .*up_proj"),
        (
            2,
            {"base_model.model.lm_head.lora_A.weight": torch.zeros(2, 8)},
            "1 tensors belong nowhere, such as .*head",
        ),
        (2, {NAME: torch.full((2, 8), torch.nan)}, "not finite"),
        (4, {}, r"has the shape \(4, .*\) instead of \(2"),
    ],
)
def test_an_adapter_of_another_form_is_refused(
    tmp_path: Path, r: int, changed: dict[str, torch.Tensor | None], said: str
) -> None:
    saved(tmp_path, r, **changed)
    with pytest.raises(InputError, match=said):
        load_start(made(), tmp_path)


def test_what_is_no_safetensors_file_is_never_opened_otherwise(tmp_path: Path) -> None:
    torch.save({NAME: torch.zeros(2, 8)}, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match="cannot be read"):
        load_start(made(), tmp_path)
