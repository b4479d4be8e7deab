"""GGUF by the real converter, quantiser and llama.cpp, where the extra is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.protocol.release import Cause, Result
from engine.release.artefact import ARTEFACT_FILE, read_artefact
from engine.release.checks import check_files
from engine.release.formats.gguf import Gguf
from engine.release.source import Source

INSTALLED = all(importlib.util.find_spec(name) for name in ("llama_cpp", "xllamacpp", "cyllama"))


@pytest.mark.skipif(INSTALLED, reason="the extra [gguf] is installed")
def test_without_the_extra_it_is_refused_with_the_command_that_installs_it(source: Source) -> None:
    with pytest.raises(InputError, match="GGUF files need the converter") as error:
        Gguf("q8_0").refuse(source)
    assert error.value.hint == "pip install 'llamaduo-tui[gguf]'"


@pytest.mark.skipif(not INSTALLED, reason="the extra [gguf] is not installed: pip install 'llamaduo-tui[gguf]'")
def test_an_artefact_whose_modelfile_is_lost_or_whose_file_is_cut_is_refused(source: Source, tmp_path: Path) -> None:
    """The tiny model's pre-tokenizer is unknown to llama.cpp: the demo's release shows that a real one converts."""
    source.work.mkdir(exist_ok=True)
    folder = tmp_path / "gguf-f16"
    folder.mkdir()
    jsonl.write_json(folder / ARTEFACT_FILE, source.artefact("gguf", "f16").to_row())
    (folder / "model.gguf").write_bytes(b"GGUF\x03\x00")
    found = {check.cause: check for check in check_files(folder, read_artefact(tmp_path, "gguf-f16"), source)}
    assert found[Cause.TEMPLATE].result is Result.FAILED
    assert "model.gguf cannot be read" in found[Cause.TEMPLATE].detail
    assert found[Cause.MODELFILE].result is Result.FAILED
