"""A service that fails in every way, asked with a key: the run ends, and the key is nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from engine.protocol import jsonl
from engine.protocol.run_dir import Run

PROGRAM = str(Path(sys.executable).with_name("llamaduo-tui"))
KEY = "sk-planted-0123456789abcdef"
FAULTS = "429=0.05,500=0.05,529=0.03,reset=0.03,garbage=0.05,truncated=0.05,fenced=0.1,empty=0.03,badscore=0.05"


@pytest.fixture
def faulty_service(tmp_path: Path) -> Iterator[str]:
    """The address of a sandbox that plays faults."""
    announced = tmp_path / "sandbox.json"
    command = [PROGRAM, "sandbox", "--port", "0", "--faults", FAULTS]
    server = subprocess.Popen([*command, "--announce", str(announced), "--exit-with-parent"], stdin=subprocess.PIPE)
    while (found := jsonl.read_json(announced)) is None:
        assert server.poll() is None
    yield f"http://127.0.0.1:{found['port']}/v1"
    server.communicate()


@pytest.mark.skipif("LONG" not in os.environ, reason="a minute and a half: LONG=1 runs it, `make bench` does")
@pytest.mark.timeout(600)
def test_ends_with_verdicts_and_without_the_key(
    tiny_migration: Path, tmp_path: Path, faulty_service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    monkeypatch.setenv("LLAMADUO_CACHE", str(tmp_path / "cache"))
    service = f'model = "openai/any"\napi_base = "{faulty_service}"\napi_key_env = "PLANTED_KEY"'
    text = tiny_migration.read_text().replace('model = "sandbox"', service).replace("max_rounds = 2", "max_rounds = 1")
    tiny_migration.write_text(text)
    root = tmp_path / "runs"
    command = [PROGRAM, "--runs-dir", str(root), "--debug", "run", str(tiny_migration), "--headless", "--yes"]
    with (tmp_path / "shown").open("w") as shown:
        process = subprocess.Popen(command, stdout=shown, stderr=shown, stdin=subprocess.DEVNULL)
    lines: set[str] = set()
    while process.poll() is None:
        lines |= command_lines()
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
    said = (tmp_path / "shown").read_text()
    assert process.returncode == 3, said

    run = Run(root / "tiny")
    verdicts = list(jsonl.read(run.round(1) / "judge" / "verdicts.jsonl"))
    assert len(verdicts) == 2 * len(list(jsonl.read(run.coverage / "dev.jsonl")))
    assert all((row["precision"] is None) == bool(row["error"]) for row in verdicts)
    assert sum(not row["error"] for row in verdicts) >= 0.9 * len(verdicts)
    decision = run.decision(1)
    assert decision is not None and [drift.answers + drift.missing for drift in decision.drift] == [20]
    report = run.report_file.read_text()
    assert "No judge shifted beyond noise." in report and "| round 1 | openai/any | " in report
    assert "## Which models answered" in report

    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert (tmp_path / "cache" / "replies.sqlite") in written
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert any("engine.stages finetune" in line for line in lines) and not [line for line in lines if KEY in line]


def command_lines() -> set[str]:
    """The command lines of all processes at this moment."""
    return {" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])}
