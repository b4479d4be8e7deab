"""The release of a run that has ended: offered, started after a question, and shown."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import frozen
import pytest
from frozen import app, make, replayed, until
from textual.widgets import Log

from engine.protocol import jsonl
from engine.protocol.errors import LlamaDuoError
from engine.protocol.release import Cause, Check, Gate, Result, Served
from engine.protocol.run_dir import Run
from engine.protocol.status import Process
from engine.protocol.takeover import DoorStatus, files
from engine.takeover.lock import lock_drill
from llamaduo_tui.control import release, takeover
from llamaduo_tui.screens.confirm import ConfirmScreen
from llamaduo_tui.screens.release import BEGUN, NOTHING, ReleaseScreen
from llamaduo_tui.screens.takeover import TakeoverScreen
from llamaduo_tui.views import release as release_view
from llamaduo_tui.views.release import DRILL_LOG
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.guide_line import GuideLine

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
        run.releasing.mkdir()
        release.log_file(run).write_text("gguf-q8_0: writing it\n\x1b[31mred\n")
        await until(pilot, lambda: str(artefacts.content) == BEGUN)
        (run.release / "gguf-q8_0").mkdir(parents=True)
        jsonl.write_json(run.release / "gguf-q8_0" / "gate.json", gate.to_row())
        await until(pilot, lambda: "✗ refused" in str(artefacts.content))
        assert "end of turn: it goes on." in str(artefacts.content)
        log = shown.screen_stack[-1].query_one(Log)
        await until(pilot, lambda: len(log.lines) > 1)
        assert "\x1b" not in "".join(log.lines)


def gate(run: Run, name: str, *, passed: bool) -> None:
    found = Gate(artefact=name, engine="", passed=passed, reason="as it is.", checks=(), margin=1.0, risk=0.05)
    (run.release / name).mkdir(parents=True)
    jsonl.write_json(run.release / name / "gate.json", found.to_row())


async def test_the_demo_is_led_from_the_release_to_the_drill(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, drilled = make(root, "demo", "reached", frozen.REACHED), list[Path]()
    run.settings_file.write_text('[task]\nname = "demo"\n' + frozen.SETTINGS)

    def start(_: Run, options: Sequence[str]) -> DoorStatus:
        assert options == ["--mode=shadow"]
        return DoorStatus(keeper=Process.of(1), address="http://127.0.0.1:8790/v1")

    monkeypatch.setattr(takeover, "start", start)
    monkeypatch.setattr(takeover, "start_drill", lambda run, log: drilled.append(log))
    shown = app(root, run)

    def guided(number: int) -> bool:
        line = shown.screen.query_one(GuideLine)
        return line.display and f"{number} of 12" in str(line.content)

    async with shown.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: replayed(shown) and guided(9))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(shown.screen, ReleaseScreen) and guided(10))
        assert shown.screen.check_action("try", ()) is shown.screen.check_action("drill", ()) is False
        gate(run, "safetensors", passed=False)
        gate(run, "gguf-q8_0", passed=True)
        await until(pilot, lambda: guided(11))
        await pilot.press("t")
        await until(pilot, lambda: isinstance(shown.screen, TakeoverScreen))
        await pilot.press("escape")
        at = files(run.folder)
        at.folder.mkdir(exist_ok=True)
        with closing(sqlite3.connect(at.journal)) as journal, journal:
            journal.execute("CREATE TABLE requests (outcome TEXT)")
            journal.execute("INSERT INTO requests VALUES ('answered')")
        await until(pilot, lambda: isinstance(shown.screen, ReleaseScreen) and guided(12))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: drilled == [at.folder / DRILL_LOG])
        (at.folder / DRILL_LOG).write_text("# Drill of demo\nNothing failed\n")
        (at.folder / "drill.md").touch()
        log = shown.screen.query_one(Log)
        await until(pilot, lambda: "Nothing failed" in log.lines and guided(12))
        await pilot.press("h")
        await until(pilot, lambda: not shown.screen.query_one(GuideLine).display)


async def test_a_door_that_does_not_start_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(root, "done", "reached", frozen.REACHED)
    gate(run, "gguf-q8_0", passed=True)

    def refuse(*_: object) -> None:
        raise LlamaDuoError("port 8790 is in use", "choose another")

    monkeypatch.setattr(takeover, "start", refuse)
    shown = app(root, run)
    async with shown.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(shown.screen, ReleaseScreen))
        await until(pilot, lambda: shown.screen.check_action("try", ()) is True)
        await pilot.press("t")
        await until(pilot, lambda: any("in use" in one.message for one in shown._notifications))
        assert isinstance(shown.screen, ReleaseScreen) and not shown.screen.query_one(GuideLine).display


async def test_it_shows_what_is_served(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(root, "done", "reached", frozen.REACHED)
    gate(run, "gguf-q8_0", passed=True)
    served = Served(
        artefact="gguf-q8_0", pid=7, host="127.0.0.1", port=8080, model="m", engine="llama.cpp", log="x.log", up=True,
        restarts=1, since=0.0,
    )  # fmt: skip
    monkeypatch.setattr(release_view, "read_served", lambda _: served)
    shown = app(root, run)
    async with shown.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(shown.screen, ReleaseScreen))
        artefacts = shown.screen.query_one("#release-artefacts", DiffedStatic)
        wanted = "serving gguf-q8_0 at http://127.0.0.1:8080/v1 by llama.cpp (pid 7, started again 1 time)"
        await until(pilot, lambda: wanted in str(artefacts.content))


def test_one_drill_at_a_time(root: Path) -> None:
    """The log is that of the drill at work: a second one leaves it alone."""
    run = make(root, "done", "reached", frozen.REACHED)
    at = files(run.folder)
    with lock_drill(at):
        log = at.folder / DRILL_LOG
        log.write_text("at work\n")
        assert release_view.release_view(run).drilling
        with pytest.raises(LlamaDuoError, match="a drill of done is at work already"):
            takeover.start_drill(run, log)
        assert log.read_text() == "at work\n"
        with pytest.raises(LlamaDuoError, match="a drill is at work already"):
            lock_drill(at)
    assert not release_view.release_view(run).drilling


async def test_a_door_that_answers_late_takes_no_keys_from_another_screen(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A released model takes minutes to load: `b`, typed elsewhere by then, must not roll a take-over back."""
    run, starts, loaded = make(root, "done", "reached", frozen.REACHED), list[Run](), threading.Event()
    gate(run, "gguf-q8_0", passed=True)

    def start(run: Run, _: Sequence[str]) -> DoorStatus:
        starts.append(run)
        loaded.wait(20)
        return DoorStatus(keeper=Process.of(1), address="http://127.0.0.1:8790/v1")

    monkeypatch.setattr(takeover, "start", start)
    shown = app(root, run)
    async with shown.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(shown.screen, ReleaseScreen))
        await until(pilot, lambda: shown.screen.check_action("try", ()) is True)
        await pilot.press("t", "t")
        await until(pilot, lambda: any("starting already" in one.message for one in shown._notifications))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(shown.screen, ReleaseScreen))
        loaded.set()
        await until(pilot, lambda: any("answers at http" in one.message for one in shown._notifications))
        assert len(starts) == 1 and not isinstance(shown.screen, TakeoverScreen)


async def test_a_run_at_work_offers_none(root: Path) -> None:
    shown = app(root, make(root, "busy", "running", frozen.TRAINING))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.press("o")
        assert not isinstance(shown.screen, ReleaseScreen)
