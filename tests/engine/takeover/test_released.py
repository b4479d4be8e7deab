"""Which local model a take-over asks, and what its processes know."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from door_sides import made_run

from engine.protocol import jsonl, records
from engine.protocol.errors import InputError
from engine.protocol.release import Gate, Served, serving_file
from engine.protocol.run_dir import Run
from engine.release.artefact import Artefact
from engine.settings.load import settings_of
from engine.takeover.environment import needed
from engine.takeover.released import LOCAL_KEY, Local, released_local
from engine.takeover.setup import door_settings


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("LLAMADUO_CACHE", str(tmp_path / "cache"))
    return made_run(tmp_path, "http://127.0.0.1:9/v1")


def released(run: Run, **passed: bool) -> None:
    for name, good in passed.items():
        format_, _, quantization = name.partition("_")
        artefact = Artefact(
            format=format_,  # type: ignore[arg-type]
            quantization=quantization,  # type: ignore[arg-type]
            model=f"demo-{name}",
            context=64,
            temperature=0.0,
            max_new_tokens=8,
            base="tiny",
        )
        folder = run.release / artefact.name
        folder.mkdir(parents=True)
        gate = Gate(artefact=artefact.name, engine="", passed=good, reason="", checks=(), margin=1.0, risk=0.05)
        jsonl.write_json(folder / "gate.json", gate.to_row())
        jsonl.write_json(folder / "artefact.json", artefact.to_row())


def serves(run: Run, **changes: object) -> None:
    row = Served(
        artefact="safetensors", pid=os.getpid(), host="127.0.0.1", port=8123, model="demo-st", engine="transformers",
        log="", up=True, restarts=0, since=0.0, key_env="SERVED_PASS",
    )  # fmt: skip
    path = serving_file(run.release)
    path.parent.mkdir(parents=True, exist_ok=True)
    jsonl.write_json(path, records.to_row(row) | changes)


def test_what_is_served_is_asked_with_its_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    released(run, safetensors=True)
    serves(run)
    with pytest.raises(InputError, match="not in the environment") as error:
        released_local(run, None, start=False)
    assert error.value.hint == "export SERVED_PASS=..."
    monkeypatch.setenv("SERVED_PASS", "0123456789")
    asked = released_local(run, None, start=False)
    assert asked == Local("http://127.0.0.1:8123/v1", "", "demo-st", "SERVED_PASS")
    assert released_local(run, None, start=True).artefact == "safetensors", "a drill does not kill what others use"
    serves(run, up=False)
    with pytest.raises(InputError, match="still starting"):
        released_local(run, None, start=False)


def test_else_the_first_released_artefact_that_works_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.release.engines.has_llama_cpp", lambda: False)
    released(run, gguf_q8_0=True, lora=False, safetensors=True)
    assert released_local(run, None, start=False) == Local("", "safetensors", "demo-safetensors", LOCAL_KEY)
    with pytest.raises(InputError, match=r"llama\.cpp is not installed"):
        released_local(run, "gguf-q8_0", start=False)
    with pytest.raises(InputError, match="lora was refused"):
        released_local(run, "lora", start=False)
    with pytest.raises(InputError, match="gguf-f16 is not released") as error:
        released_local(run, "gguf-f16", start=False)
    assert error.value.hint == "released is: gguf-q8_0, safetensors"


@pytest.mark.parametrize(("gates", "said"), [({}, "nothing is released"), ({"lora": False}, "nothing .* its gate")])
def test_nothing_released_says_the_next_step(run: Run, gates: dict[str, bool], said: str) -> None:
    released(run, **gates)
    with pytest.raises(InputError, match=said) as error:
        door_settings(run, settings_of(run))
    assert error.value.hint.startswith("release it first: llamaduo-tui release demo")
    assert door_settings(run, settings_of(run), local="http://127.0.0.1:1/v1").artefact == ""


def test_a_named_server_needs_the_key_that_is_named(run: Run) -> None:
    with pytest.raises(InputError, match="NO_SUCH_KEY is not in the environment"):
        door_settings(run, settings_of(run), local="http://127.0.0.1:1/v1", local_key_env="NO_SUCH_KEY")


def test_a_door_gets_the_keys_that_it_needs(run: Run) -> None:
    table = {"key_env": "DOORPASS", "local_key_env": None}
    settings = settings_of(run)
    settings = settings.model_copy(update={"takeover": settings.takeover.model_copy(update=table)})
    given = dict.fromkeys(("SERVICE_TEST_KEY", "DOORPASS", "MINE", "OPENAI_API_KEY", "HF_TOKEN", "PATH"), "x" * 9)
    assert {*needed(settings, given, {"MINE"})} - {"PYTHONSAFEPATH"} == {"SERVICE_TEST_KEY", "DOORPASS", "MINE", "PATH"}
    judged = settings.judge.model_copy(update={"models": ["gemini/flash", "cohere_chat/r"]})
    named = settings.model_copy(update={"judge": judged})
    more = needed(named, dict.fromkeys(("GEMINI_API_KEY", "COHERE_API_KEY", "GROQ_API_KEY"), "x" * 9))
    assert "GEMINI_API_KEY" in more
    assert "GROQ_API_KEY" not in more
