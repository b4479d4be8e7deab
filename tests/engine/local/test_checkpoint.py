from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.local.checkpoint import Tensor, read_checkpoint, read_header
from engine.local.quantised import usable_checkpoint
from engine.local.resolve import ResolvedModel
from engine.protocol.errors import InputError
from engine.settings.local import Local


def write(file: Path, header: str, data: int = 8) -> Path:
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(data))
    return file


def tensor(shape: str, offsets: str) -> str:
    return f'{{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}'


def test_tensors_may_stand_in_any_order(tmp_path: Path) -> None:
    file = write(tmp_path / "a", f'{{"b": {tensor("[1]", "[4, 8]")}, "a": {tensor("[1]", "[0, 4]")}}}')
    assert read_header(file) == {"a": Tensor("F32", (1,)), "b": Tensor("F32", (1,))}


@pytest.mark.parametrize(
    "header",
    [
        f'{{"a": {tensor("[2]", "[0, 8]")}, "b": {tensor("[1]", "[4, 8]")}}}',
        f'{{"a": {tensor("[1]", "[0, 4]")}, "b": {tensor("[1]", "[8, 12]")}}}',
        f'{{"a": {tensor("[1e999]", "[0, 8]")}}}',
        f'{{"a": {tensor("[2]", "[0, 1e999]")}}}',
        f'{{"a": {tensor("[-1, -2]", "[0, 8]")}}}',
        f'{{"a": {tensor("[2.9]", "[0, 8]")}}}',
        f'{{"a": {tensor("2", "[0, 8]")}}}',
        '{"a": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F32", "shape": [true, 2], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}',
        f'{{"a": {tensor("[2]", "[0, 8, 8]")}}}',
        f'{{"a": {tensor("[2]", "[0, " + "9" * 4000 + "]")}}}',
        '{"a": [1]}',
        "[]",
    ],
)
def test_a_damaged_header_is_one_line(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError, match="damaged") as found:
        read_header(write(tmp_path / "a", header))
    assert len(found.value.message) < 300


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    one = tensor("[2]", "[0, 8]")
    write(tmp_path / "a.safetensors", f'{{"x": {one}}}')
    write(tmp_path / "b.safetensors", f'{{"x": {tensor("[1]", "[0, 4]")}, "y": {tensor("[1]", "[4, 8]")}}}')
    (tmp_path / "config.json").write_text("{}")
    index = {"metadata": {}, "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="the tensor x is in another file"):
        read_checkpoint(tmp_path)


def test_an_adapter_beside_the_weights_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", f'{{"x": {tensor("[2]", "[0, 8]")}}}')
    for name in ("config.json", "adapter_config.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="LoRA adapter next to its weights"):
        usable_checkpoint(ResolvedModel("m", tmp_path, None, "0"), Local())
