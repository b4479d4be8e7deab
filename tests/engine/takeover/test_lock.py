"""A door at work, or about to be, is left alone by a second one that somebody starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from door_sides import made_run

from engine.protocol.errors import LlamaDuoError
from engine.protocol.takeover import commands, files, read_settings
from engine.takeover.__main__ import main
from engine.takeover.lock import lock


def begun(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> int:
    local = ["--local", "http://127.0.0.1:1/v1", "--local-model", "small"]
    monkeypatch.setattr(os, "umask", lambda _: 0)  # it is the process's
    monkeypatch.setattr(sys, "argv", ["takeover", "begin", str(folder), *local, *options])
    return main()


def test_a_second_door_changes_neither_settings_nor_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run(tmp_path, "http://127.0.0.1:1/v1")
    at = files(run.folder)
    assert begun(monkeypatch, run.folder, "--mode", "shadow", "--port", "8801") == 0
    first = read_settings(at)
    with lock(at):
        assert begun(monkeypatch, run.folder, "--mode", "local-only", "--anyway", "--port", "8802") == 1
        with pytest.raises(LlamaDuoError, match="a door is at work already"):
            lock(at)
    assert "a door is at work already" in capsys.readouterr().err
    assert read_settings(at) == first
    assert [command.mode for command in commands(at)] == ["shadow"]
    assert begun(monkeypatch, run.folder, "--mode", "shadow", "--port", "8803") == 0
