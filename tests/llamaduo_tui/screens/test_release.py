"""The release of a run that has ended: offered, started after a question, and shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import frozen
import pytest
from frozen import app, make, replayed, until
from textual.widgets import Log

from engine.protocol import jsonl
from engine.protocol.release import Cause, Check, Gate, Result
from engine.protocol.run_dir import Run
from llamaduo_tui.control import release
from llamaduo_tui.screens.confirm import ConfirmScreen
from llamaduo_tui.screens.release import NOTHING, ReleaseScreen
from llamaduo_tui.widgets.diffed_static import DiffedStatic

pytestmark = pytest.mark.usefixtures("still_machine")


async def test_it_is_started_after_a_question_and_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, started = make(root, "done", "reached", frozen.REACHED), []

    def start(wanted: Run, arguments: Sequence[str] = ()) -> None:
        started.append((wanted, list(arguments)))

    monkeypatch.setattr(release, "start", start)
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(shown.screen, ReleaseScreen))
        artefacts = shown.screen.query_one("#release-artefacts", DiffedStatic)
        await until(pilot, lambda: str(artefacts.content) == NOTHING)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: started == [(run, [])])
        failed = Check(cause=Cause.END, result=Result.FAILED, detail="it goes on")
        gate = Gate(
            artefact="gguf-q8_0", engine="", passed=False, reason="end of turn: it goes on.", checks=(failed,),
            margin=1.0, risk=0.05,
        )  # fmt: skip
        (run.release / "gguf-q8_0").mkdir(parents=True)
        jsonl.write_json(run.release / "gguf-q8_0" / "gate.json", gate.to_row())
        run.releasing.mkdir()
        release.log_file(run).write_text("gguf-q8_0: writing it\n\x1b[31mred\n")
        await until(pilot, lambda: "✗ refused" in str(artefacts.content))
        assert "end of turn: it goes on." in str(artefacts.content)
        log = shown.screen_stack[-1].query_one(Log)
        await until(pilot, lambda: len(log.lines) > 1)
        assert "\x1b" not in "".join(log.lines)


async def test_a_run_at_work_offers_none(root: Path) -> None:
    shown = app(root, make(root, "busy", "running", frozen.TRAINING))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.press("o")
        assert not isinstance(shown.screen, ReleaseScreen)
