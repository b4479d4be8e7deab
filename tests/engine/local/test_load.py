from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.local.checkpoint import read_checkpoint
from engine.local.device import Device, find_device
from engine.local.load import load_base, load_model
from engine.local.lora import add_adapter
from engine.local.resolve import ResolvedModel
from engine.protocol.errors import InputError
from engine.settings.local import Adapter, Local

FLOAT32 = Device("cpu", "", "float32", False, 1 << 33, 1 << 33)
INPUT = torch.tensor([[1, 50, 60, 70, 2]])


@pytest.fixture
def adapter(tiny: ResolvedModel, tmp_path: Path) -> Path:
    """An adapter that changes the answers: a new one doesn't, its B is zero."""
    add_adapter(load_base(tiny, Local(), FLOAT32), Adapter(r=4, alpha=8)).save_pretrained(str(tmp_path))
    file = tmp_path / "adapter_model.safetensors"
    torch.manual_seed(0)
    save_file({name: torch.randn_like(tensor) / 8 for name, tensor in load_file(file).items()}, file)
    return tmp_path


def test_products_in_the_bases_format_are_those_of_peft(tiny: ResolvedModel, adapter: Path) -> None:
    ours = add_adapter(load_base(tiny, Local(), FLOAT32), Adapter(r=4, alpha=8, dropout=0))
    ours.load_adapter(str(adapter), "default")
    theirs = load_model(tiny, Local(), FLOAT32, adapter)
    untuned = load_model(tiny, Local(), FLOAT32, None)
    with torch.inference_mode():
        expected = theirs(INPUT).logits
        torch.testing.assert_close(ours(INPUT).logits, expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(untuned(INPUT).logits, expected, atol=1e-2)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_an_adapter_is_merged_only_into_a_16_bit_base(quantization: str, tiny: ResolvedModel, adapter: Path) -> None:
    model = load_model(tiny, Local.model_validate({"quantization": quantization}), find_device(), adapter)
    assert not model.training
    assert any("lora" in name for name, _ in model.named_modules()) == (quantization == "nf4")


def test_an_adapter_of_another_model_is_refused(tiny: ResolvedModel, adapter: Path) -> None:
    """peft itself leaves out tensors without a place, and the model answers as if untuned."""
    file = adapter / "adapter_model.safetensors"
    whole = load_file(file)
    other = {name.replace("layers.1.", "layers.7."): tensor for name, tensor in whole.items()}
    small = {name: tensor[:, :2].clone() for name, tensor in whole.items()}
    for tensors, message in ((other, "not an adapter of this model: base_model"), (small, "cannot load the adapter")):
        save_file(tensors, file)
        with pytest.raises(InputError, match=message):
            load_model(tiny, Local(), FLOAT32, adapter)


def test_an_adapter_that_transformers_loads_with_a_base_is_refused(
    tiny: ResolvedModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is seen from the files, and again in the model, since code of its own may add one."""
    shutil.copytree(tiny.path, adapter, dirs_exist_ok=True)
    model = ResolvedModel("tuned", adapter, None, "")
    with pytest.raises(InputError, match="has a LoRA adapter next to its weights"):
        load_base(model, Local(), FLOAT32)
    monkeypatch.setattr("engine.local.load.usable_checkpoint", lambda found, _: read_checkpoint(found.path))
    with pytest.raises(InputError, match=r"its weights contain an adapter: .*lora_A") as refused:
        load_base(model, Local(), FLOAT32)
    assert "merge the adapter into the weights" in refused.value.hint


def test_what_cannot_be_loaded_is_an_error_for_the_user(tiny: ResolvedModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"adapter_model\.safetensors is missing"):
        load_model(tiny, Local(), FLOAT32, tmp_path)
    shutil.copytree(tiny.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text('{"model_type": "never-heard-of"}')
    broken = ResolvedModel("broken", tmp_path, None, "")
    with pytest.raises(InputError, match=r"broken: cannot load config\.json: .*never-heard-of") as caught:
        load_base(broken, Local(), FLOAT32)
    assert "upgrade transformers" in caught.value.hint
