from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors.torch import load_file

from engine.local.device import Device
from engine.local.inference.merged import write_merged
from engine.local.load import load_base
from engine.local.lora import add_adapter
from engine.local.resolve import ResolvedModel
from engine.settings.local import Adapter, Local

FLOAT32 = Device("cpu", "", "float32", False, 1 << 33, 1 << 33)
LAYER = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_folder_has_16_bit_weights_also_after_training_on_4_bits(
    quantization: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    local = Local.model_validate({"quantization": quantization})
    tuned = add_adapter(load_base(tiny, local, FLOAT32), Adapter(r=2, alpha=4, dropout=0))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, 0.5)
    tuned.save_pretrained(str(tmp_path / "adapter"))
    folder = write_merged(tiny, local, tmp_path / "adapter", tmp_path / "merged")
    base, merged = load_file(tiny.path / "model.safetensors"), load_file(folder / "model.safetensors")
    assert merged.keys() == base.keys() and "quantization_config" not in (folder / "config.json").read_text()
    factor = load_file(tmp_path / "adapter" / "adapter_model.safetensors")[f"base_model.model.{LAYER}.lora_A.weight"]
    weight = base[f"{LAYER}.weight"].float()
    if quantization == "nf4":
        weight = dequantize_4bit(*quantize_4bit(weight.bfloat16(), quant_type="nf4", compress_statistics=True)).float()
        assert not weight.equal(base[f"{LAYER}.weight"].float()), "the values that the adapter was trained on"
    expected = weight + 2 * 0.5 * factor.float().sum(0)
    assert (merged[f"{LAYER}.weight"].float() - expected).abs().max() < 0.005 * expected.abs().max()
