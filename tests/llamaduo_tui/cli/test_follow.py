"""Following runs with a worker that only tells the story, in plain form and in a real pseudo-terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import story
from msgspec.structs import replace
from terminals import PROGRAM

from engine.protocol import commands
from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import Event, EventLog, RunFailed, RunFinished
from engine.protocol.questions import APPROVE, REJECT, Answer
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State, Status
from llamaduo_tui.cli.follow import follow
from llamaduo_tui.control import actions, launch

MakeRun = Callable[..., Run]
FakeWorker = Callable[[Run], "subprocess.Popen[bytes]"]


def await_state(run: Run, state: State) -> None:
    end = time.monotonic() + 30
    while run.status().state != state:
        assert time.monotonic() < end
        os.sched_yield()


def test_a_run_that_reached_its_target(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(make_run([*story.to_approval(), *story.to_end()])) == 0
    shown = capsys.readouterr().out
    assert "round 2      precision  93.4 (88 to 98)" in shown
    told = shown.partition("\nnext:\n")[2].splitlines()
    assert [line.split()[1] for line in told[:4]] == ["release", "serve", "takeover", "drill"]
    assert "final/report.md" in shown


def test_a_used_up_budget_is_told_with_the_command_that_raises_it(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run([story.started(), story.used_up()])
    with pytest.raises(LlamaDuoError, match="is gone"):
        follow(run)
    command = "llamaduo-tui approve demo --budget USD   (USD at least 2.01)"
    assert f"it waits for you: {command}" in capsys.readouterr().out


def test_a_run_is_followed_until_its_status_is_written(make_run: MakeRun) -> None:
    """Its record is made between its last event and that, and takes a while."""
    run = make_run([*story.to_approval(), *story.to_end()])
    ended = run.status()
    run.write_status(replace(ended, state=State.RUNNING, process=Process.of(os.getpid()), heartbeat=time.time()))
    threading.Timer(0.3, run.write_status, [ended]).start()
    assert follow(run) == 0
    assert run.state() is ended.state


@pytest.mark.parametrize(("state", "exit_status"), [(State.MISSED, 3), (State.STOPPED, 130)])
def test_a_target_missed_and_a_stop_by_hand_exit_differently(make_run: MakeRun, state: State, exit_status: int) -> None:
    ended: list[Event] = [*story.to_approval(), RunFinished(state=state, reason="No gain for 2 rounds.")]
    assert follow(make_run(ended)) == exit_status


def test_a_failure_has_its_line_its_hint_and_its_status(make_run: MakeRun) -> None:
    run = make_run([story.started(), RunFailed(error="no\x1b key", hint="set it", exit_status=2)])
    with pytest.raises(LlamaDuoError) as failed:
        follow(run)
    assert (failed.value.message, failed.value.hint, failed.value.exit_status) == ("no␛ key", "set it", 2)


def test_a_worker_that_is_gone_is_reported_with_its_last_log_line(make_run: MakeRun) -> None:
    run = make_run([story.started()])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    process = Process.of(gone.pid)
    gone.wait()
    run.write_status(Status(state=State.RUNNING, process=process, heartbeat=time.time()))
    run.log_file.write_text("first\nKilled by \x1b[31mthe kernel\n\nWARNING some.library: no kernels\n")
    with pytest.raises(LlamaDuoError) as crashed:
        follow(run)
    assert f"(pid {gone.pid}) is gone; last log line: Killed by ␛[31mthe kernel" in crashed.value.message
    assert "llamaduo-tui resume demo" in crashed.value.hint


def test_a_run_answered_from_elsewhere_goes_on(
    make_run: MakeRun, fake_worker: FakeWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    fake_worker(run)
    await_state(run, State.WAITING)
    assert actions.answer(run, APPROVE, pairs=50) == "round 1: approved (50 pairs)"
    assert follow(run) == 0
    assert "llamaduo-tui approve demo" in capsys.readouterr().out


def test_a_worker_that_cannot_start_is_told(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        launch, "worker_command", lambda run, yes: [sys.executable, "-c", "raise SystemExit('no torch')"]
    )
    with pytest.raises(LlamaDuoError, match="could not start: no torch"):
        launch.start(make_run(), yes=False)


def test_a_resumed_run_is_not_taken_for_its_earlier_end(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run([story.started(), RunFailed(error="x", hint="", exit_status=1)])
    tell = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n" + (
        "import story; from pathlib import Path; from engine.protocol.status import State\n"
        "from engine.protocol.events import EventLog, RunFinished\n"
        f"log = EventLog(Path({str(run.events_file)!r}))\n"
        "log.append(story.started(9, resumed=True)); log.append(RunFinished(state=State.REACHED, reason=''))"
    )
    monkeypatch.setattr(launch, "worker_command", lambda run, yes: [sys.executable, "-c", tell])
    launch.start(run, yes=False)
    assert follow(run) == 0


def test_headless_ctrl_c_leaves_it_running(root: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", str(settings_file(root)), "--headless", "--name", "demo"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout is not None
    for line in program.stdout:
        if "it waits for you" in line:
            break
    program.send_signal(signal.SIGINT)
    rest = program.stdout.read()
    assert program.wait(10) == 130
    assert "keeps running" in rest
    run = Run(root / "demo")
    commands.send(run.commands_file, Answer(question=story.another_round().question.key, choice=REJECT))
    assert follow(run) == 3


def test_a_reader_that_goes_away_is_no_error(make_run: MakeRun, root: Path) -> None:
    run = make_run(story.to_approval())
    log = EventLog(run.events_file)
    for _ in range(200):
        for event in story.stage("infer", 3, 6, "answers"):
            log.append(event)
    program = Path(sys.executable).with_name("llamaduo-tui")
    shown = subprocess.run(f"{program} logs demo | head -1", shell=True, capture_output=True, text=True)
    assert shown.stdout.count("\n") == 1
    assert shown.stderr == ""


def settings_file(root: Path) -> Path:
    root.parent.mkdir(exist_ok=True)
    file = root.parent / "migration.toml"
    (root.parent / "a.jsonl").touch()
    file.write_text('[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n')
    return file
