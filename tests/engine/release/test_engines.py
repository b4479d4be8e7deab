"""Which program serves an artefact, and that code of a model runs with a person's consent alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.protocol.release import Gate
from engine.release.artefact import ARTEFACT_FILE
from engine.release.engines import Engine, Transformers, Vllm, choose
from engine.release.formats.safetensors import Safetensors
from engine.release.servers.transformers import load
from engine.release.source import Source
from llamaduo_tui.cli.main import main

CODE = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM
class Config(LlamaConfig):
    model_type = "planted"
class Model(LlamaForCausalLM):
    config_class = Config
"""


@pytest.fixture
def coded(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A released artefact whose config names code beside it, which writes a file `ran` once it runs."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "release" / "safetensors"
    folder.mkdir(parents=True)
    Safetensors().write(source, folder)
    (folder / "planted.py").write_text(CODE.format(marker=str(tmp_path / "ran")))
    config = jsonl.read_json(folder / "config.json") or {}
    named = {"AutoConfig": "planted.Config", "AutoModelForCausalLM": "planted.Model"}
    jsonl.write_json(folder / "config.json", config | {"model_type": "planted", "auto_map": named})
    described(folder, source, trusts=True)
    gate = Gate(artefact="safetensors", engine="", passed=True, reason="", checks=(), margin=1.0, risk=0.05)
    jsonl.write_json(folder / "gate.json", gate.to_row())
    return folder


def described(folder: Path, source: Source, *, trusts: bool) -> None:
    jsonl.write_json(folder / ARTEFACT_FILE, replace(source.artefact("safetensors"), trust_remote_code=trusts).to_row())


@pytest.mark.parametrize("trusts", [True, False])
def test_no_code_of_a_folder_runs_by_itself(coded: Path, source: Source, tmp_path: Path, trusts: bool) -> None:
    """Whatever the folder says of itself."""
    described(coded, source, trusts=trusts)
    with pytest.raises(InputError):
        load(coded)
    assert not (tmp_path / "ran").exists()


def test_it_runs_with_consent(coded: Path, tmp_path: Path) -> None:
    load(coded, trusted=True)
    assert (tmp_path / "ran").read_text() == "ran"


def test_a_copied_folder_is_served_after_consent_alone(coded: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["serve", str(coded.parent)])
    assert done.exit_code == 2
    assert "safetensors runs code that comes with the model, which is not allowed yet" in done.output
    assert "to run them with your rights: --trust-remote-code" in done.output
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", ["safetensors", "lora"])
def test_vllm_samples_as_the_sealed_test_did(source: Source, form: Literal["safetensors", "lora"]) -> None:
    """Where a request names nothing: not by a base's settings, nor at the 1.0 that is vLLM's own."""
    command = [*Vllm("vllm").command(Path("/r") / form, source.artefact(form), "127.0.0.1", 1, 1)]
    at = command.index("--generation-config")
    assert command[at : at + 4] == [
        *("--generation-config", f"/r/{form}", "--override-generation-config", '{"temperature": 0.0}')
    ]


@pytest.mark.parametrize("engine", [Transformers(), Vllm("vllm")])
@pytest.mark.parametrize("trusts", [True, False])
def test_a_server_is_told_of_the_consent_only_where_it_is_needed(source: Source, engine: Engine, trusts: bool) -> None:
    artefact = replace(source.artefact("safetensors"), trust_remote_code=trusts)
    assert isinstance(choose(artefact, "auto", "vllm", trusted=True), Transformers)
    assert ("--trust-remote-code" in engine.command(Path("/r/safetensors"), artefact, "127.0.0.1", 1, 1)) is trusts


def test_gguf_files_hold_no_code(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.release.engines.has_llama_cpp", lambda: True)
    assert choose(replace(source.artefact("gguf", "f16"), trust_remote_code=True), "auto", "vllm").name == "llama.cpp"
