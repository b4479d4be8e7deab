"""A file that cannot be read fails one check, not all that look into it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.protocol import jsonl
from engine.protocol.release import Cause, Check, Result
from engine.release.artefact import ARTEFACT_FILE, read_artefact
from engine.release.checks import check_files
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
