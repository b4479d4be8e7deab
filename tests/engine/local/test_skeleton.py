"""Nothing of a model is made up: a folder is taken as it is meant, or refused from its files alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.local.checkpoint import AGAIN
from engine.local.device import Device
from engine.local.load import load_base
from engine.local.quantised import usable_checkpoint
from engine.local.resolve import ResolvedModel
from engine.local.skeleton import skeleton
from engine.protocol.errors import InputError
from engine.settings.local import Local
from tests.engine.local.architectures import make
from tests.engine.local.broken import BROKEN, LAYER, QUANTISED, Break, tensors, whole_shards, without

FLOAT32 = Device("cpu", "", "float32", False, 1 << 33, 1 << 33)
NF4 = Local(quantization="nf4")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    return make("llama", tmp_path_factory.mktemp("good"))


def broken(good: ResolvedModel, folder: Path, change: Break) -> ResolvedModel:
    shutil.copytree(good.path, folder, dirs_exist_ok=True)
    change(folder)
    return ResolvedModel("someone/Tiny-GPTQ-Int4", folder, None, "0" * 16)


@pytest.mark.parametrize("local", [Local(), NF4], ids=["none", "nf4"])
@pytest.mark.parametrize(("change", "message"), QUANTISED.values(), ids=QUANTISED.keys())
def test_quantised_weights_are_refused_by_their_files(
    change: Break, message: str, local: Local, good: ResolvedModel, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        usable_checkpoint(broken(good, tmp_path, change), local)
    assert message in caught.value.message and "\n" not in caught.value.message
    assert caught.value.hint == "take the 16-bit weights, perhaps someone/Tiny"


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_incomplete_and_misfitting_weights_are_refused_without_loading_them(
    change: Break, message: str, good: ResolvedModel, tmp_path: Path
) -> None:
    model = broken(good, tmp_path, change)
    for load in (lambda: skeleton(model, Local()), lambda: load_base(model, Local(), FLOAT32)):
        with pytest.raises(InputError) as caught:
            load()
        assert message in caught.value.message and "\n" not in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("architecture", ["mixtral", "qwen3-moe"])
@pytest.mark.parametrize("damage", ["is missing", "has the sizes"])
def test_a_damaged_expert_is_named(damage: str, architecture: str, tmp_path: Path) -> None:
    model = make(architecture, tmp_path)
    expert = next(name for name in load_file(tmp_path / "model.safetensors") if ".experts.2." in name)

    def smaller(found: dict[str, torch.Tensor]) -> None:
        found[expert] = found[expert][:-4].clone()

    tensors(without(expert) if damage == "is missing" else smaller)(tmp_path)
    for load in (lambda: skeleton(model, Local()), lambda: load_base(model, Local(), FLOAT32)):
        with pytest.raises(InputError, match=f"the tensor {expert} {damage}") as refused:
            load()
        assert refused.value.hint == AGAIN and "\n" not in refused.value.message


def test_harmless_differences_are_no_obstacle(good: ResolvedModel, tmp_path: Path) -> None:
    """Buffers of older versions, parts with an index, and a config.json that speaks of 4 bits that were merged."""

    def older(found: dict[str, torch.Tensor]) -> None:
        found["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        found["v_head.summary.weight"] = torch.ones(1, 32)

    model = broken(
        good, tmp_path, tensors(older, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    )
    whole_shards(tmp_path)
    expected = load_file(good.path / "model.safetensors")[f"{LAYER}.weight"].float()
    loaded = load_base(model, Local(), FLOAT32)
    assert torch.equal(loaded.get_submodule(LAYER).weight, expected)
    assert all(parameter.is_meta for parameter in skeleton(model, Local()).parameters())


def test_4_bit_weights_of_bitsandbytes_are_read_with_nf4_only(good: ResolvedModel, tmp_path: Path) -> None:
    load_base(good, NF4, FLOAT32).save_pretrained(tmp_path)
    stored = ResolvedModel("unsloth/tiny-bnb-4bit", tmp_path, None, "0" * 16)
    with pytest.raises(InputError, match="quantised to 4 bits") as caught:
        skeleton(stored, Local())
    assert caught.value.hint == 'set local.quantization to "nf4", or take the 16-bit weights, perhaps unsloth/tiny'
    assert len(list(skeleton(stored, NF4).parameters())) == len(list(load_base(stored, NF4, FLOAT32).parameters()))
    ids = torch.tensor([[1, 50, 60, 70, 2]])
    with torch.inference_mode():
        again, once = load_base(stored, NF4, FLOAT32)(ids).logits, load_base(good, NF4, FLOAT32)(ids).logits
    torch.testing.assert_close(again, once)

    found = load_file(tmp_path / "model.safetensors")
    found[f"{LAYER}.weight"] = found[f"{LAYER}.weight"][:-8].clone()
    save_file(found, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=LAYER):
        skeleton(stored, NF4)


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("t5", "not a causal language model"),
        ("llama4", "cannot run llama4 models on text alone"),
        ("never-heard-of", "never-heard-of"),
    ],
)
def test_other_kinds_of_models_are_refused(model_type: str, message: str, good: ResolvedModel, tmp_path: Path) -> None:
    model = broken(good, tmp_path, tensors(lambda _: None, model_type=model_type))
    with pytest.raises(InputError, match=message):
        skeleton(model, Local())
