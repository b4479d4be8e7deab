"""The artefact that is served: released, and one that an engine here takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.protocol.release import Gate
from engine.release.artefact import Artefact
from engine.release.servable import Servable, servable


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GGUF without llama.cpp, an adapter without its base, and the merged model; nothing is refused yet."""
    monkeypatch.setattr("engine.release.engines.has_llama_cpp", lambda: False)
    for format_, quantization in (("gguf", "q8_0"), ("lora", ""), ("safetensors", "")):
        artefact = Artefact(
            format=format_,  # type: ignore[arg-type]
            quantization=quantization,  # type: ignore[arg-type]
            model="m",
            context=64,
            temperature=0.0,
            max_new_tokens=8,
            base="b",
        )
        (tmp_path / artefact.name).mkdir()
        jsonl.write_json(tmp_path / artefact.name / "artefact.json", artefact.to_row())
        gated(tmp_path, artefact.name, passed=True)
    return tmp_path


def gated(release: Path, name: str, *, passed: bool, identical: int = 0) -> None:
    gate = Gate(
        artefact=name,
        engine="",
        passed=passed,
        reason="bad.",
        checks=(),
        margin=1.0,
        risk=0.05,
        prompts=56,
        identical=identical,
    )
    jsonl.write_json(release / name / "gate.json", gate.to_row())


def test_others_are_passed_over_with_the_reason(release: Path) -> None:
    found = servable(release, None)
    assert found.artefact == "safetensors"
    assert [name for name, _ in found.passed_over] == ["gguf-q8_0", "lora"]
    assert "llama.cpp is not installed" in found.passed_over[0][1]
    assert "the base model of this adapter is not at" in found.passed_over[1][1]
    assert servable(release, "safetensors") == Servable("safetensors")


def test_of_several_the_best_engine_then_the_answers_as_judged_then_the_size_decide(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.release.engines.has_llama_cpp", lambda: True)
    for quantization, size, identical in (("f16", 900, 56), ("q4_k_m", 300, 54), ("q8_0", 500, 56)):
        name = f"gguf-{quantization}"
        (release / name).mkdir(exist_ok=True)
        row = {**jsonl.read_json(release / "gguf-q8_0" / "artefact.json"), "quantization": quantization}
        jsonl.write_json(release / name / "artefact.json", row)
        (release / name / "model.gguf").write_bytes(b"x" * size)
        gated(release, name, passed=True, identical=identical)
    assert servable(release, None).artefact == "gguf-q8_0"
    gated(release, "gguf-q8_0", passed=True, identical=55)
    assert servable(release, None).artefact == "gguf-f16"
    monkeypatch.setattr("engine.release.engines._has_gpu", lambda: True)
    assert servable(release, None, vllm="true").artefact == "safetensors"


def test_one_that_is_named_is_not_replaced(release: Path) -> None:
    with pytest.raises(InputError, match="base model of this adapter"):
        servable(release, "lora")
    gated(release, "safetensors", passed=False)
    with pytest.raises(InputError, match=r"safetensors was refused: bad\."):
        servable(release, "safetensors")
    with pytest.raises(InputError, match="gguf-f16 is not released") as error:
        servable(release, "gguf-f16")
    assert error.value.hint == "released is: gguf-q8_0, lora"


def test_where_nothing_works_each_reason_is_told(release: Path) -> None:
    gated(release, "safetensors", passed=False)
    with pytest.raises(InputError, match=r"gguf-q8_0: llama\.cpp is not installed.*; lora: the base model") as error:
        servable(release, None)
    assert error.value.hint.startswith("pip install 'llamaduo-tui[gguf]' or write the folder of b")
    gated(release, "lora", passed=False)
    with pytest.raises(InputError, match=r"^llama\.cpp is not installed"):
        servable(release, None)
    gated(release, "gguf-q8_0", passed=False)
    with pytest.raises(InputError, match="nothing that was written passed its gate"):
        servable(release, None)
