"""Runs of an older and of a newer version, in the commands and in the app."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import frozen
import old_run
import pytest
from click.testing import CliRunner, Result
from frozen import app, screen, until
from textual.widgets import Markdown, OptionList

from engine.protocol.errors import InputError
from engine.protocol.questions import APPROVE, PAIRS, ROUND
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.cli.main import main
from llamaduo_tui.control import actions, launch
from llamaduo_tui.screens.report import ReportScreen
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.views.run_list import RunList
from llamaduo_tui.views.run_view import view_of
from llamaduo_tui.views.watcher import RunWatcher

pytestmark = pytest.mark.usefixtures("still_machine")


def call(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def newer(root: Path) -> Run:
    """A run in a format that is not known yet."""
    run = frozen.make(root, "newer", "running", frozen.TRAINING)
    run.format_file.write_text("99\n")
    return run


def row(shown: LlamaDuoApp) -> str:
    listed = shown.query_one(OptionList)
    return str(listed.get_option_at_index(0).prompt) if listed.option_count else ""


def test_an_old_run_that_ended_short_of_its_target_has_missed_it(root: Path) -> None:
    run = old_run.missed(root)
    before = frozen.files(run)
    status = json.loads(call("status", "missed", "--json").stdout)
    assert (status["state"], status["format"], status["report"]) == ("missed", 1, str(run.report_file))
    assert "missed: missed" in call("status", "missed").stdout
    assert "written by an older version, in format 1" in call("status", "missed").stdout
    assert "missed" in call("runs").stdout.splitlines()[1].split()
    assert "missed: No gain for 2 rounds." in call("logs", "missed").stdout
    assert call("logs", "missed", "-f").exit_code == 3

    refused = call("resume", "missed", "--detach")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: missed has ended (missed) and cannot be resumed\nhint: ")
    assert frozen.files(run) == before


def test_the_events_of_an_old_run_add_up(root: Path) -> None:
    run = old_run.missed(root)
    view = view_of(run)
    assert view.outcome is not None and view.outcome.state is State.MISSED
    assert view.outcome.sealed is not None and view.outcome.sealed.precision.mean == 64.3
    assert view.question is None
    assert view.answered is not None and (view.answered.question.kind, view.answered.pairs) == (PAIRS, 99)
    (decision,) = view.scored
    assert decision.changes is not None and [change.id for change in decision.changes.regressed] == ["a1"]
    assert decision == run.decision(1)


async def test_the_report_of_an_old_run_opens(root: Path) -> None:
    run = old_run.missed(root)
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "✗ missed" in row(shown))
        assert shown.screen.check_action("resume", ()) is False
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(shown.screen, RunScreen) and shown.screen.state is State.MISSED)
        assert screen(shown).check_action("resume", ()) is False
        await pilot.press("r")
        await until(pilot, lambda: isinstance(shown.screen, ReportScreen))
        await until(pilot, lambda: "target not reached" in shown.screen.query_one(Markdown).source)
    assert not run.format_file.exists()


async def test_an_old_run_that_was_stopped_by_hand_may_be_resumed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = old_run.stopped(root)
    started: list[Run] = []
    monkeypatch.setattr(launch, "start", lambda run, yes: started.append(run) or 1)
    assert json.loads(call("status", "stopped", "--json").stdout)["state"] == "stopped"
    assert call("logs", "stopped", "-f").exit_code == 130
    assert call("resume", "stopped", "--detach").exit_code == 0
    shown = app(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: "■ stopped" in row(shown))
        await pilot.press("r")
        await until(pilot, lambda: len(started) == 2)
    assert started == [run, run]


async def test_a_worker_of_an_older_version_is_not_sent_answers_that_it_cannot_read(root: Path) -> None:
    run = old_run.waiting(root)
    held = (run.folder / "lock").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)  # as its worker does; an older version wrote no boot
    before = run.commands_file.read_bytes()
    question = view_of(run).question
    assert question is not None and (question.kind, question.pairs) == (ROUND, 120)
    with pytest.raises(InputError, match="was started by an older version"):
        actions.answer(run, APPROVE)
    shown = app(root, run)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: isinstance(shown.screen, RunScreen) and screen(shown).asking is not None)
        await pilot.press("a")
        await until(pilot, lambda: any("stop and resume the run" in note.message for note in shown._notifications))
    assert run.commands_file.read_bytes() == before
    held.close()


def test_a_run_of_a_newer_version_is_listed_and_says_to_upgrade(root: Path) -> None:
    run = newer(root)
    before = frozen.files(run)
    assert [entry.state for entry in RunList(root).read()] == [State.UNREADABLE]
    assert "unreadable" in call("runs").stdout
    shown = call("status", "newer")
    assert shown.exit_code == 0
    assert "newer: unreadable\n  newer was written in format 99" in shown.stdout
    assert "upgrade: pip install --upgrade llamaduo-tui" in shown.stdout
    status = json.loads(call("status", "newer", "--json").stdout)
    assert status["state"] == "unreadable" and "format 99" in status["problem"]
    for command in ("resume", "approve", "reject", "stop", "pause"):
        refused = call(command, "newer")
        assert refused.exit_code == 1
        assert "format 99" in refused.stderr and "upgrade" in refused.stderr
    assert frozen.files(run) == before


async def test_the_app_says_once_that_a_run_is_of_a_newer_version(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polls: list[RunWatcher] = []
    poll = RunWatcher.poll
    monkeypatch.setattr(RunWatcher, "poll", lambda self, *left: polls.append(self) or poll(self, *left))
    monkeypatch.setattr("llamaduo_tui.screens.watching.POLL_S", 0.01)
    shown = app(root, newer(root))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: len(polls) > 5 and bool(shown._notifications))
        (note,) = shown._notifications
        assert "format 99" in note.message and "upgrade" in note.message
        await pilot.press("escape")
        await until(pilot, lambda: "! unreadable" in row(shown))
