"""The app in a real pseudo-terminal, with a worker that only tells the story: it comes and goes, the worker stays."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from terminals import PROGRAM, Terminal

from engine.protocol import commands
from engine.protocol.run_dir import Run
from llamaduo_tui.control import actions
from llamaduo_tui.views import kept
from tests import terminal

ASKS = "Finish with round 1"


def waiting(root: Path, *args: str) -> tuple[Terminal, Run]:
    screen = Terminal(*(args or ("demo",)))
    screen.read_until(ASKS)
    return screen, Run(root / "demo")


def test_approving_leads_to_the_end_and_its_exit_status(root: Path) -> None:
    screen, run = waiting(root)
    screen.press("a")
    screen.read_until("can take over")
    screen.press("q")
    assert screen.exit_status() == 0
    assert "report:" in screen.shown
    (answer,) = commands.read(run.commands_file)
    assert (answer.question, answer.choice, answer.pairs) == ("round/1", "approve", 120)


def test_finishing_ends_without_reaching(root: Path) -> None:
    screen, run = waiting(root)
    screen.press("f")
    screen.read_until("without reaching")
    screen.press("q")
    assert screen.exit_status() == 3
    assert [c.choice for c in commands.read(run.commands_file)] == ["reject"]


def test_ctrl_z_where_no_shell_waits_leaves_the_app_at_work(root: Path) -> None:
    screen = Terminal()
    screen.read_until("No runs yet")
    screen.press("\x1a")
    screen.read_until("No shell waits")
    screen.press("q")
    assert screen.exit_status() == 0


def test_coloured_text_that_is_pasted_answers_no_question(root: Path) -> None:
    screen, run = waiting(root)
    screen.press("\x1b[200~\x1b[31ma\x1b[0m\n\x1b[201~")
    screen.read_until("of the pasted text left out")
    screen.press("f")
    screen.read_until("without reaching")
    screen.press("q")
    assert screen.exit_status() == 3
    assert [c.choice for c in commands.read(run.commands_file)] == ["reject"]


@pytest.mark.skipif(not shutil.which("bash"), reason="needs a shell with job control")
def test_ctrl_z_gives_a_shell_its_terminal_and_fg_takes_it_back(root: Path) -> None:
    screen = terminal.Terminal(["bash", "--norc", "-i"], 100, 30)
    screen.press(f"{shlex.quote(sys.executable)} -m llamaduo_tui\r")
    screen.read_until("No runs yet")
    screen.press("\x1a")
    screen.read_until("Stopped")
    screen.press("fg\r")
    screen.read_until("No runs yet")
    screen.press("q")
    screen.read_until("bash-")
    screen.press("exit\r")
    assert screen.exit_status() == 0


def test_stopping_is_confirmed(root: Path) -> None:
    screen, run = waiting(root)
    screen.press("x")
    screen.read_until("Stop it")
    assert not commands.read(run.commands_file)
    screen.press("y")
    screen.read_until("is stopped")
    screen.press("q")
    assert screen.exit_status() == 130
    assert [c.kind for c in commands.read(run.commands_file)] == ["stop"]


DEAF = """
import signal
from llamaduo_tui import terminal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
terminal.WATCH_S = 0.1
"""


def test_a_hang_up_that_is_not_heard_leaves_no_app_behind(root: Path, tmp_path: Path) -> None:
    """The app waits in a write on a stalled line, and another thread may take the signal: it then never hears it."""
    file = tmp_path / "m.toml"
    screen = terminal.Terminal([sys.executable, "-c", DEAF + PROGRAM, "edit", str(file)])
    screen.read_until("Configuration")
    screen.press("\rhalf a na")
    screen.read_until("half a na")
    screen.hang_up()
    end = time.monotonic() + 60
    while not (ended := os.waitpid(screen.pid, os.WNOHANG))[0]:
        assert time.monotonic() < end, "it is left behind"
        time.sleep(0.05)
    assert os.waitstatus_to_exitcode(ended[1]) == 128 + signal.SIGHUP
    assert [one.draft()["task", "name"] for one in kept.left(file)] == ["half a na"]


def test_ctrl_c_leaves_it_running_and_attach_comes_back(root: Path) -> None:
    screen, run = waiting(root)
    screen.press("\x03")
    assert screen.exit_status() == 130
    assert "keeps running" in screen.shown
    assert run.status().seen(time.time()) == "waiting"
    again, _ = waiting(root, "attach", "demo")
    again.press("q")
    assert again.exit_status() == 130
    actions.stop(run)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_given_back_as_it_was(told: signal.Signals, root: Path) -> None:
    screen, run = waiting(root)
    os.kill(screen.pid, told)
    assert screen.exit_status() == 128 + told
    assert b"\x1b[?1049l" in screen.raw
    assert b"\x1b[?25h" in screen.raw
    actions.stop(run)


def test_a_closed_terminal_ends_the_app_and_leaves_the_worker_alone(root: Path) -> None:
    screen, run = waiting(root)
    screen.hang_up()
    assert os.waitstatus_to_exitcode(os.waitpid(screen.pid, 0)[1]) == -signal.SIGHUP
    assert run.status().seen(time.time()) == "waiting"
    actions.stop(run)


def test_without_a_command_it_opens_at_the_runs(root: Path) -> None:
    screen = Terminal()
    screen.read_until("No runs yet")
    screen.press("q")
    assert screen.exit_status() == 0


def test_a_locale_without_other_signs_is_told_with_what_helps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    screen = Terminal()
    screen.read_until("export LC_ALL=C.UTF-8")
    screen.press("q")
    assert screen.exit_status() == 0
