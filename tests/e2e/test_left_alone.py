"""A run that nobody follows: it waits for its decision, is stopped, resumed, and answered from other terminals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.protocol import commands, jsonl
from engine.protocol.commands import PairChoice
from engine.protocol.manifest import manifest
from engine.protocol.run_dir import Run

PROGRAM = str(Path(sys.executable).with_name("llamaduo-tui"))


def llamaduo(root: Path, *arguments: str, status: int = 0) -> str:
    command = [PROGRAM, "--runs-dir", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def seen(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(llamaduo(root, "status", "tiny", "--json"))
    return found


def wait_until(root: Path, state: str) -> dict[str, Any]:
    run = Run(root / "tiny")
    while (now := run.status().seen(time.time())) != state:
        assert now in ("new", "running")
        time.sleep(0.1)
    return seen(root)


def pause_and_go_on(root: Path) -> None:
    """A paused run pauses its stage, too, and continues where it was."""
    run, child = Run(root / "tiny"), None
    while child is None:  # a stage of the tiny model may end before the pause comes
        while run.status().child is None:
            time.sleep(0.1)
        llamaduo(root, "pause", "tiny")
        assert seen(root)["state"] == "paused"
        child = run.status().child
        if child is not None and not child.alive:
            child = None
        if child is not None:
            assert psutil.Process(child.pid).status() == psutil.STATUS_STOPPED
        llamaduo(root, "resume", "tiny", "--detach")
    with suppress(psutil.NoSuchProcess):  # it may have ended by now
        assert psutil.Process(child.pid).status() != psutil.STATUS_STOPPED


def look_at_the_new_pairs(root: Path, run: Run) -> None:
    """Before they are trained on a person refuses one."""
    wait_until(root, "waiting")
    llamaduo(root, "reject", "tiny", status=2)
    refused = next(jsonl.read(run.round(1) / "synthesize" / "pairs.jsonl"))["id"]
    commands.send(run.commands_file, PairChoice(round=1, pairs=[refused], keep=False))
    assert manifest(run.round(2) / "finetune") is None
    llamaduo(root, "approve", "tiny")
    while (trained := manifest(run.round(2) / "finetune")) is None:
        time.sleep(0.1)
    before = manifest(run.round(1) / "finetune")
    assert before is not None
    assert trained.counts["pairs"] == before.counts["pairs"] + 4
    assert (trained.counts["refused_by_hand"], trained.counts["kept_by_hand"]) == (1, 0)
    assert "choices" in trained.inputs


@pytest.mark.skipif("LONG" not in os.environ, reason="two minutes: LONG=1 runs it, `make bench` does")
@pytest.mark.timeout(600)
def test_waits_stops_resumes_and_is_answered_once(tiny_migration: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "runs" / "tiny")
    text = tiny_migration.read_text().replace('approval = "auto"', 'approval = "ask"')
    tiny_migration.write_text(text.replace("[synthesis]", "[synthesis]\nreview = true"))
    root = tmp_path / "runs"
    llamaduo(root, "run", str(tiny_migration), "--detach")
    pause_and_go_on(root)
    waiting = wait_until(root, "waiting")
    assert waiting["round"] == 1
    assert [decision["round"] for decision in waiting["rounds"]] == [0, 1]

    llamaduo(root, "stop", "tiny")
    assert seen(root)["state"] == "stopped"
    llamaduo(root, "resume", "tiny", "--detach")
    assert wait_until(root, "waiting")["calls"] == waiting["calls"], "nothing is paid for again"

    llamaduo(root, "approve", "tiny", "--pairs", "5")
    while (written := manifest(run.round(1) / "synthesize")) is None:
        time.sleep(0.1)
    assert written.counts["accepted"] == 5
    look_at_the_new_pairs(root, run)
    llamaduo(root, "logs", "tiny", "-f", status=3)
    assert llamaduo(root, "resume", "tiny", status=2) == ""
    assert seen(root)["state"] == "missed"
