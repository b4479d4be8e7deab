"""Watching a run: its new events and the new lines of its log, poll by poll."""

from __future__ import annotations

from pathlib import Path

import frozen
from frozen import make

from engine.protocol.status import State
from llamaduo_tui.views.watcher import TAIL_BYTES, WRAP, RunWatcher, Tail


def test_a_poll_gives_only_what_is_new(root: Path) -> None:
    run = make(root, "busy", "running", frozen.WAITING)
    watcher = RunWatcher(run, lambda: frozen.NOW)
    first = watcher.poll()
    assert first is not None
    assert first.view.question is not None
    assert watcher.poll() is None


def test_a_folder_that_goes_away_is_told_once_and_what_was_read_stays(root: Path) -> None:
    run = make(root, "busy", "waiting", frozen.WAITING)
    watcher = RunWatcher(run, lambda: frozen.NOW)
    assert watcher.poll() is not None
    run.folder.rename(root / ".moved")
    gone = watcher.poll()
    assert gone is not None
    assert (gone.state, gone.mine, gone.gone) == (State.UNREADABLE, False, "its folder is gone")
    assert gone.view.question is not None
    assert watcher.poll() is None
    (root / ".moved").rename(run.folder)
    back = watcher.poll()
    assert back is not None
    assert (back.state, back.mine) == (State.WAITING, True)


def test_a_long_line_comes_whole_in_pieces(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("a" * (10 * WRAP + 1) + "\nlast, unfinished")
    tail = Tail(file)
    pieces = [line.text for line in tail.read_new()]
    assert "".join(pieces) == "a" * (10 * WRAP + 1)
    assert [line.text for line in tail.read_new()] == ["last, unfinished"]


def test_of_a_huge_file_the_end_is_read_and_the_rest_is_named(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"0123456789abcde\n" * (TAIL_BYTES // 16 + 1000))
    lines = Tail(file).read_new()
    assert f"{16_000:,} earlier bytes" in lines[0].text
    assert len(lines) == TAIL_BYTES // 16 + 1


def test_a_log_that_begins_again_is_read_from_its_start(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("first life, quite long\n")
    tail = Tail(file)
    tail.read_new()
    file.write_text("second\n")
    assert [line.text for line in tail.read_new()] == ["second"]


def test_a_damaged_final_decision_is_a_line_and_the_run_is_shown(root: Path) -> None:
    run = make(root, "done", "reached", frozen.REACHED)
    run.final.mkdir(exist_ok=True)
    run.final_decision_file.write_text('{"reached": 7}')
    update = RunWatcher(run, lambda: frozen.NOW).poll()
    assert update is not None and update.view.outcome is not None
    assert update.final is None and update.events[-1].level == "error" and "decision.json" in update.events[-1].text
