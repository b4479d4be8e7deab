"""A drill that the released model can keep up with, started for the app."""

from __future__ import annotations

import sys
from pathlib import Path

import frozen
import pytest
from frozen import make

from engine.protocol import jsonl
from engine.protocol.release import Gate
from engine.protocol.run_dir import Run
from llamaduo_tui.control import takeover


@pytest.fixture
def run(root: Path) -> Run:
    return make(root, "done", "reached", frozen.REACHED)


def release(run: Run, name: str, seconds: float, *, passed: bool = True) -> None:
    gate = Gate(
        artefact=name, engine="", passed=passed, reason="", checks=(), margin=1.0, risk=0.05, prompts=56,
        seconds=seconds,
    )  # fmt: skip
    (run.release / name).mkdir(parents=True)
    jsonl.write_json(run.release / name / "gate.json", gate.to_row())


@pytest.mark.parametrize(
    ("seconds", "options"),
    [
        (70.0, ["--requests=20", "--rate=0.5"]),
        (28.0, ["--requests=40", "--rate=1.0"]),
        (1.0, ["--requests=200", "--rate=5.0"]),
        (0.0, ["--requests=200", "--rate=5.0"]),
    ],
)
def test_a_drill_asks_half_as_fast_as_the_model_answered_its_gate(run: Run, seconds: float, options: list[str]) -> None:
    release(run, "gguf-f16", 900.0, passed=False)
    release(run, "gguf-q8_0", seconds)
    assert takeover.drill_pace(run) == options


def test_what_a_drill_says_is_in_a_log_for_its_owner_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    release(run, "gguf-q8_0", 28.0)
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    log = run.folder / "takeover" / "drill.log"
    for _ in range(2):
        assert takeover.start_drill(run, log).wait() == 0
    said = log.read_text()
    assert said == f"-P -m engine.takeover drill {run.folder.resolve()} --requests=40 --rate=1.0\n"
    assert log.stat().st_mode & 0o777 == 0o600
