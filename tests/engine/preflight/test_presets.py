"""The program behind `llamaduo-tui presets`, and the form's list."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from engine.preflight import presets
from engine.preflight.report import ModelChoice
from engine.protocol import records


def run(monkeypatch: pytest.MonkeyPatch, *args: str, given: str = "") -> int:
    monkeypatch.setattr(sys, "argv", ["presets", *args])
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    return presets.main()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [{"prompt": f"What is {number}?", "response": "a number"} for number in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = tmp_path / "migration.toml"
    settings.write_text('[coverage]\nsource = "rows.jsonl"\n[service]\nmodel = "sandbox"\n')
    return settings


def test_each_preset_has_its_line_and_its_reason(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(file)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("machine   ") and lines[1].startswith("data      30 pairs, the longest about 10 tokens")
    (row,) = [place for place, line in enumerate(lines) if "gemma-3-1b" in line.split()]
    assert "Gemma Terms of Use (gated), en, no tools" in lines[row] and "1.0B" in lines[row]
    assert lines[row + 1].strip().startswith("Gemma 3 1B: training takes ")


def test_a_file_without_data_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(tmp_path / "none.toml")) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "data"),
    [
        (None, "none given; assumed: 200 pairs"),
        ({"source": "rows.jsonl"}, "30 pairs"),
        ({"source": "none.jsonl"}, "not looked at: "),
    ],
)
def test_the_form_gets_an_answer_whatever_its_data_is(
    table: dict[str, str] | None,
    data: str,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(file.parent)
    assert run(monkeypatch, "--coverage", "--json", given=json.dumps(table)) == 0
    choice = records.parse(ModelChoice, capsys.readouterr().out.encode())
    assert choice.data.startswith(data) and len(choice.models) > 20
