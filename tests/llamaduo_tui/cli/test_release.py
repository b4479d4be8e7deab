"""`release` and `serve` from the command line: what they refuse before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.protocol import jsonl
from engine.protocol.release import Gate
from llamaduo_tui.cli.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copied release with an artefact that passed and one that was refused."""
    for name, passed in (("lora", False), ("safetensors", True)):
        gate = Gate(artefact=name, engine="", passed=passed, reason="bad.", checks=(), margin=1.0, risk=0.05)
        (tmp_path / name).mkdir()
        jsonl.write_json(tmp_path / name / "gate.json", gate.to_row())
        jsonl.write_json(tmp_path / name / "artefact.json", {})
    return tmp_path


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code in (1, 2)
    return done.output


def test_a_refused_artefact_is_not_served(folder: Path) -> None:
    assert "lora was refused: bad." in refused("serve", str(folder), "--artefact", "lora")
    assert "released is: safetensors" in refused("serve", str(folder), "--artefact", "gguf-f16")


def test_others_are_let_in_with_a_key_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "needs a key" in refused("serve", str(folder), "--host", "0.0.0.0")
    monkeypatch.setenv("EMPTY", " ")
    assert "needs a key" in refused("serve", str(folder), "--host", "0.0.0.0", "--key-env", "EMPTY")


def test_a_key_that_is_asked_for_must_be_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVE_KYE", raising=False)
    assert "SERVE_KYE holds no key in this environment" in refused("serve", str(folder), "--key-env", "SERVE_KYE")


@pytest.mark.parametrize(
    "arguments",
    [("serve", "--key-env"), ("takeover", "--key-env"), ("takeover", "--local-key-env"), ("drill", "--local-key-env")],
)
def test_a_key_in_the_place_of_its_variable_is_not_shown(arguments: tuple[str, str], tmp_path: Path) -> None:
    command, option = arguments
    said = refused("--runs-dir", str(tmp_path), command, "demo", option, "sk-secret-1")
    assert "never the key itself" in said and "sk-secret" not in said


def test_nothing_is_served_yet(folder: Path) -> None:
    for option in ("--status", "--stop"):
        done = CliRunner().invoke(main, ["serve", str(folder), option])
        assert (done.exit_code, done.output) == (0, "nothing is served\n")


def test_a_run_without_a_release_says_how_to_make_one(tmp_path: Path) -> None:
    assert "no run" in refused("--runs-dir", str(tmp_path), "serve", "demo")
    assert "invalid value for '--format'" in refused("release", "demo", "--format", "onnx")
