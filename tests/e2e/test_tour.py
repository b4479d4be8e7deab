"""The demo's second half: a release that is gated, one prompt asked of both sides, and the drill, by real processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.protocol.release import PAPER_FILE, read_gates
from engine.protocol.takeover import files
from llamaduo_tui.cli import tour
from llamaduo_tui.control import takeover
from llamaduo_tui.views.release import release_view
from tests.engine.release.conftest import make_run


@pytest.mark.skipif("LONG" not in os.environ, reason="two and a half minutes: LONG=1 runs it, `make bench` does")
@pytest.mark.timeout(600)
def test_a_reached_run_is_released_asked_and_rehearsed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the tiny model, whose tokens llama.cpp does not know: safetensors alone, as without the extra [gguf]."""
    monkeypatch.setattr(tour, "lacking_for_gguf", lambda: "the converter of llama.cpp")
    monkeypatch.setattr(takeover, "SLOWEST", 4.0)
    run = make_run(tmp_path).run
    assert tour.go_on(run) == 0
    said = capfd.readouterr().out
    assert "the converter of llama.cpp is not installed: safetensors alone is released" in said
    assert [(gate.artefact, gate.passed) for gate in read_gates(run.release)] == [("safetensors", True)]
    assert said.index("1 of 3") < said.index("service  ") < said.index("local    ") < said.index("3 of 3")
    assert "Nothing failed; each request is in the journal once." in said
    assert said.splitlines()[-2].endswith(str(run.release / PAPER_FILE)) and (run.release / PAPER_FILE).is_file()
    _, working = takeover.at_work(run)
    assert working is None, "the door is ended"
    view = release_view(run)
    assert view.released and view.tried and view.drilled and files(run.folder).journal.is_file()
