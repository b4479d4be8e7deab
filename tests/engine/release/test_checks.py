"""A file that cannot be read fails one check, not all that look into it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gguf import GGUFWriter

from engine.protocol import jsonl
from engine.protocol.release import Cause, Check, Result
from engine.release.artefact import ARTEFACT_FILE, read_artefact
from engine.release.checks import Files, check_files, context, end, template
from engine.release.formats.safetensors import Safetensors
from engine.release.modelfile import modelfile
from engine.release.source import Source


def failed(folder: Path, source: Source) -> list[Check]:
    checks = check_files(folder, read_artefact(folder.parent, folder.name), source)
    assert {check.cause for check in checks} | {Cause.BOS, Cause.TOKENS, Cause.KERNELS} == set(Cause)
    return [check for check in checks if check.result is Result.FAILED]


@pytest.mark.parametrize("content", [b"", b"GGUF\x03\x00", b"GGUF\x03\x00\x00\x00" + b"\xff" * 64, b"not a GGUF file"])
def test_a_cut_gguf_file_is_named_once(source: Source, tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "gguf-q8_0"
    folder.mkdir()
    jsonl.write_json(folder / ARTEFACT_FILE, source.artefact("gguf", "q8_0").to_row())
    (folder / "Modelfile").write_text(modelfile(source, "model.gguf"))
    (folder / "model.gguf").write_bytes(content)
    (one,) = failed(folder, source)
    assert one.cause is Cause.TEMPLATE
    assert one.detail.startswith("model.gguf cannot be read")


@pytest.fixture(scope="session")
def written(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "safetensors"
    folder.mkdir()
    Safetensors().write(source, folder)
    jsonl.write_json(folder / ARTEFACT_FILE, source.artefact("safetensors").to_row())
    return folder


@pytest.mark.parametrize("kept", [0, 7, 100, 5000])
def test_cut_weights_are_named_once(source: Source, written: Path, tmp_path: Path, kept: int) -> None:
    folder = tmp_path / "safetensors"
    shutil.copytree(written, folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    (one,) = failed(folder, source)
    assert one.cause is Cause.MERGE
    assert "model.safetensors" in one.detail


def gguf(folder: Path, source: Source, **changed: object) -> Files:
    """The header of a GGUF file as the converter writes it, but for what is changed, and its Modelfile."""
    folder.mkdir()
    tokens = source.tokenizer.convert_ids_to_tokens(list(range(len(source.tokenizer))))
    said = {"context": source.context, "template": source.template, "eos": source.tokenizer.eos_token_id} | changed
    writer = GGUFWriter(folder / "model.gguf", "llama")
    writer.add_context_length(said["context"])
    writer.add_chat_template(said["template"])
    writer.add_token_list(tokens)
    writer.add_eos_token_id(said["eos"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "Modelfile").write_text(modelfile(source, "model.gguf"))
    return Files(folder, source.artefact("gguf", "q8_0"), source)


def test_a_gguf_header_as_it_is_written_passes(source: Source, tmp_path: Path) -> None:
    files = gguf(tmp_path / "gguf-q8_0", source)
    assert [look(files)[0] for look in (template, end, context)] == 3 * [Result.PASSED]


def test_a_gguf_file_with_fewer_positions_is_named(source: Source, tmp_path: Path) -> None:
    result, detail = context(gguf(tmp_path / "gguf-q8_0", source, context=32))
    assert result is Result.FAILED and detail.startswith("the files name 32 positions; a context of ")


def test_a_gguf_file_with_another_template_is_named(source: Source, tmp_path: Path) -> None:
    other = source.template.replace("<|im_start|>", "<|endoftext|>", 1)
    result, detail = template(gguf(tmp_path / "gguf-q8_0", source, template=other))
    assert (result, detail) == (Result.FAILED, "the template in the GGUF file is not that of training")


def test_an_end_token_that_is_a_word_is_named(source: Source, tmp_path: Path) -> None:
    """Servers would cut answers at it; llama.cpp still knows the true end by its text."""
    word = source.tokenizer.encode("broken", add_special_tokens=False)[0]
    result, detail = end(gguf(tmp_path / "gguf-q8_0", source, eos=word))
    assert result is Result.FAILED and detail.endswith("is among the end tokens: answers of training go on behind it")
