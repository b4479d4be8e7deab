"""GGUF files written here: llama with and without all of its tensors, and what is said of files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.torch import load_file

from engine.local.gguf import convert, rounding
from engine.protocol.errors import InputError

TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "a", "b", "ab"]


def write(
    file: Path,
    *,
    architecture: str = "llama",
    kind: GGMLQuantizationType = GGMLQuantizationType.Q8_0,
    without: str = "",
    merges: tuple[str, ...] = ("a b",),
) -> Path:
    """A llama of one layer and 64 hidden units, as llama.cpp's converter names its parts."""
    writer = GGUFWriter(str(file), architecture)
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * len(TOKENS))
    writer.add_token_merges(list(merges))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = np.random.default_rng(0)
    layer = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), (64, 64))
    sizes: dict[str, tuple[int, ...]] = {"token_embd": (len(TOKENS), 64), "output_norm": (64,)}
    sizes |= {f"blk.0.{name}": size for name, size in (layer | {"attn_norm": (64,), "ffn_norm": (64,)}).items()}
    for name, size in sizes.items():
        values = random.normal(size=size).astype(np.float32)
        if name == without:
            continue
        if len(size) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            writer.add_tensor(f"{name}.weight", quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_file_becomes_safetensors_with_a_tokenizer(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf")
    convert(file, tmp_path / "model")
    found = load_file(tmp_path / "model" / "model.safetensors")
    assert "model.layers.0.mlp.up_proj.weight" in found and (tmp_path / "model" / "tokenizer.json").exists()
    assert rounding(file) == ""


def test_weights_of_few_bits_are_named(tmp_path: Path) -> None:
    note = rounding(write(tmp_path / "tiny.gguf", kind=GGMLQuantizationType.Q4_0))
    assert note.startswith("tiny.gguf stores its weights in 4.5 bits on average: training starts from rounded weights")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "smollm9"}, "cannot read GGUF files of smollm9 models"),
        ({"without": "blk.0.ffn_up"}, "the tensor model.layers.0.mlp.up_proj.weight is missing"),
        ({"merges": ("x y",)}, "cannot be converted"),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_a_line(change: dict[str, str], message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", **change)
    with pytest.raises(InputError) as caught:
        convert(file, tmp_path / "model")
    assert message in caught.value.message and "\n" not in caught.value.message and caught.value.hint


def test_a_download_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(InputError, match="incomplete"):
        convert(file, tmp_path / "model")
