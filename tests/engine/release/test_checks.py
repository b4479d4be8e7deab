"""What the checks see in files: one that cannot be read fails one of them, not all that look into it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter
from msgspec.structs import replace

from engine.protocol import jsonl
from engine.protocol.release import Cause, Check, Result
from engine.release import checks as looks
from engine.release.artefact import ARTEFACT_FILE, read_artefact
from engine.release.checks import Files, adapter, check_files, context, end, sampling, template
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


SAMPLING: dict[str, Any] = {"temp": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


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
    for name, value in (SAMPLING | {name: changed[name] for name in SAMPLING if name in changed}).items():
        if value is not None:
            (writer.add_int32 if name == "top_k" else writer.add_float32)(f"general.sampling.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "Modelfile").write_text(modelfile(source, "model.gguf"))
    return Files(folder, source.artefact("gguf", "q8_0"), source)


def test_a_gguf_header_as_it_is_written_passes(source: Source, tmp_path: Path) -> None:
    files = gguf(tmp_path / "gguf-q8_0", source)
    assert [look(files)[0] for look in (template, end, context, sampling)] == 4 * [Result.PASSED]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("temp", "the default temperature is 0.8; the sealed test was at 0"),
        ("top_k", "top_k is 40; the sealed test drew by temperature alone"),
        ("top_p", "top_p is 0.95; the sealed test drew by temperature alone"),
        ("min_p", "min_p is 0.05; the sealed test drew by temperature alone"),
    ],
)
def test_where_a_gguf_file_names_no_sampling_llama_cpp_has_its_own(
    source: Source, tmp_path: Path, name: str, said: str
) -> None:
    result, detail = sampling(gguf(tmp_path / "gguf-q8_0", source, **{name: None}))
    assert (result, detail) == (Result.FAILED, said)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "temperature 0.7 and nothing else"),
        ({"top_k": None}, "top_k is 50; "),
        ({"top_k": 50}, "top_k is 50; "),
        ({"temperature": None}, "the default temperature is 1; "),
        ({"do_sample": None}, "the default temperature is 0; "),
    ],
)
def test_answers_that_were_drawn_are_drawn_likewise(
    source: Source, written: Path, tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    """A value of None is left out: then transformers has one of its own."""
    inference = source.settings.inference.model_copy(update={"temperature": 0.7})
    drawn = replace(source, settings=source.settings.model_copy(update={"inference": inference}))
    folder = tmp_path / "safetensors"
    shutil.copytree(written, folder)
    config = {name: value for name, value in (drawn.generation_config() | changed).items() if value is not None}
    jsonl.write_json(folder / "generation_config.json", config)
    result, detail = sampling(Files(folder, drawn.artefact("safetensors"), drawn))
    assert detail.startswith(said)
    assert result is (Result.FAILED if changed else Result.PASSED)


@pytest.mark.parametrize(
    ("quantization", "shares", "result", "said"),
    [
        ("", [1.0, 0.98], Result.PASSED, "98% of the adapter's change is in the weights"),
        ("q8_0", [1.0, 0.05], Result.FAILED, "a weight has 5% of the adapter's change: the base model answers, or a"),
        ("q4_k_m", [0.98, 0.95], Result.PASSED, "95% of the adapter's change is in the weights"),
        ("q4_k_m", [0.98, 0.05], Result.PASSED, "rounding to q4_k_m leaves 5% of the adapter's change in one weight"),
        ("q4_k_m", [0.06, 0.05], Result.FAILED, "rounding to q4_k_m leaves 6% of the adapter's change: the base model"),
        ("q4_k_m", [0.05, 1.9], Result.FAILED, "a weight has 190% of the adapter's change: it is merged more than"),
    ],
)
def test_what_rounding_takes_of_the_adapter_is_left_to_the_answers(
    source: Source, monkeypatch: pytest.MonkeyPatch, quantization: Any, shares: list[float], result: Result, said: str
) -> None:
    """A base that was on 4 bits itself has its weights on the steps of q4_k_m, and a small change is rounded away."""
    monkeypatch.setattr(looks, "adapter_shares", lambda *_: shares)
    artefact = source.artefact("gguf" if quantization else "safetensors", quantization)
    files = Files(source.work, artefact, source)
    files.__dict__["gguf"] = None  # there is no file
    found, detail = adapter(files)
    assert found is result and detail.startswith(said)


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
