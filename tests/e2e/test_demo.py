"""The demo as a newcomer runs it: the real small model, the sandbox, one command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.dataset.load import load
from engine.protocol import jsonl
from engine.protocol.manifest import manifest
from engine.protocol.run_dir import Run
from engine.settings.schema import Coverage

PROGRAM = str(Path(sys.executable).with_name("llamaduo-tui"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, subprocess.CompletedProcess[str]]:
    root = tmp_path_factory.mktemp("runs")
    command = [PROGRAM, "--runs-dir", str(root), "demo", "--headless", "--yes", "--until", "reached", "--name", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return Run(root / "demo"), done


pytestmark = pytest.mark.timeout(900)


def test_reaches_its_target(demo: tuple[Run, subprocess.CompletedProcess[str]]) -> None:
    run, done = demo
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    decisions = run.decisions()
    assert not decisions[1].passed_gate, "round 1 is to be found wanting"
    assert decisions[-1].passed_gate
    assert decisions[-1].round <= 3
    assert decisions[-1].precision.mean - decisions[0].precision.mean >= 40
    assert run.status().state == "reached"


def test_the_report_tells_what_happened(demo: tuple[Run, subprocess.CompletedProcess[str]]) -> None:
    run, _ = demo
    report = run.report_file.read_text()
    assert "target reached" in report
    assert "sandbox" in report
    assert report.count("### Best") == report.count("### Worst") == 3


def test_nothing_was_asked_twice(demo: tuple[Run, subprocess.CompletedProcess[str]]) -> None:
    run, _ = demo
    asked = [row["hash"] for row in jsonl.read(run.folder / "sandbox.jsonl") if row["event"] == "asked"]
    assert len(asked) == len(set(asked))


def test_no_stage_used_four_gigabytes(demo: tuple[Run, subprocess.CompletedProcess[str]]) -> None:
    run, _ = demo
    complete = [manifest(path.parent) for path in run.folder.glob("*/*/manifest.json")]
    peaks = [stage.peak_memory_bytes for stage in complete if stage and stage.peak_memory_bytes]
    assert len(peaks) >= 5
    assert max(peaks) < 4 * 2**30


def test_its_rows_are_exported_whole(demo: tuple[Run, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    run, _ = demo
    command = [PROGRAM, "--runs-dir", str(run.folder.parent), "export", "demo", "--to", str(tmp_path / "rows")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(told.splitlines()) == len(list((tmp_path / "rows").rglob("*.jsonl"))) >= 14
    loaded = [load(Coverage(source=str(path))) for path in (tmp_path / "rows" / "coverage").iterdir()]
    assert sum(len(split.pairs) for split in loaded) == 160
    for judged in run.folder.glob("round-*/judge/verdicts.jsonl"):
        exported = tmp_path / "rows" / "evaluations" / f"{judged.parts[-3]}.jsonl"
        scores = [row["precision"] for row in jsonl.read(judged)]
        assert [row["precision_scores"] for row in jsonl.read(exported)] == scores


def test_status_for_scripts(demo: tuple[Run, subprocess.CompletedProcess[str]]) -> None:
    run, _ = demo
    command = [PROGRAM, "--runs-dir", str(run.folder.parent), "status", "demo", "--json"]
    status = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert status["state"] == "reached"
    assert len(status["rounds"]) == len(run.decisions())
    assert status["calls"] > 50
    assert status["tokens"] > 10_000
    assert {"run", "round", "stage", "cached_calls", "cost_usd", "pid"} <= status.keys()
