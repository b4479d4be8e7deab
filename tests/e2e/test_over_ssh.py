"""The app over SSH: the connection is cut, the worker stays, and whoever comes back finds everything."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.protocol import commands
from engine.protocol.events import Event, EventReader, QuestionAnswered, TrainMetrics
from engine.protocol.run_dir import Run
from llamaduo_tui.control import actions
from tests.terminal import Terminal

PROGRAM = str(Path(sys.executable).with_name("llamaduo-tui"))
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
PASSED_ON = ("PATH", "HOME", "PYTHONPATH", "LLAMADUO_RUNS", "LLAMADUO_CACHE", "OMP_NUM_THREADS")
ASKS = "pay for another?"
BUSY = 0.3
"""Share of a processor from which a process that has nothing to do spins."""

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="no OpenSSH here: sshd and ssh are needed"),
]


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[list[str]]:
    """The command line that logs in to an sshd of this test's own, as this user, on loopback."""
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'user.pub'}\n"
        f"PidFile none\nPasswordAuthentication no\nStrictModes no\nUsePAM no\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as its service makes it at boot
    assert SSHD is not None
    server = subprocess.Popen([SSHD, "-D", "-f", str(folder / "config"), "-E", str(folder / "log")])
    while "listening" not in ((folder / "log").read_text() if (folder / "log").exists() else ""):
        assert server.poll() is None, (folder / "log").read_text()
        time.sleep(0.02)
    options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder / 'known'}"]
    yield ["ssh", "-tt", "-q", *options, "-i", str(folder / "user"), "-p", str(port), f"{getpass.getuser()}@127.0.0.1"]
    server.terminate()
    server.wait()


@pytest.fixture
def connect(ssh: list[str], tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Log in and run the program there, in the test's own folder; what a failed test leaves at work is ended."""

    def log_in(*args: str) -> Terminal:
        variables = [f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
        program = shlex.join(["env", *variables, PROGRAM, *args])
        return Terminal([*ssh, f"cd {shlex.quote(str(tmp_path))} && {program}"])

    yield log_in
    for process in ours():
        process.kill()


def ours() -> list[psutil.Process]:
    """Every process that was started with this test's folder of runs: apps, workers and their stages."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LLAMADUO_RUNS") == os.environ["LLAMADUO_RUNS"]:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for process in found if process.pid != os.getpid()]


def apps() -> list[psutil.Process]:
    return [process for process in ours() if PROGRAM in process.cmdline()]


def hang_up(screen: Terminal) -> None:
    """Cut the connection as a closed laptop does, and wait until the app at its other end is gone."""
    left_behind = apps()
    assert left_behind
    os.kill(screen.pid, signal.SIGKILL)
    os.waitpid(screen.pid, 0)
    _, orphans = psutil.wait_procs(left_behind, timeout=10)
    assert not orphans


def busiest(processes: list[psutil.Process]) -> float:
    """The highest share of a processor that one of them takes over a second."""
    before = {process: sum(process.cpu_times()[:2]) for process in processes}
    time.sleep(1.0)
    return max(sum(process.cpu_times()[:2]) - spent for process, spent in before.items())


def wait_for(run: Run, wanted: type[Event]) -> list[Event]:
    """The run's events, once one of this kind is among them."""
    reader, seen = EventReader(run.events_file), list[Event]()
    end = time.monotonic() + 120
    while not any(isinstance(event, wanted) for event in seen):
        assert time.monotonic() < end, seen[-1:]
        time.sleep(0.05)
        seen += reader.read_new()
    return seen


def test_a_cut_connection_stops_nothing_and_two_answers_count_once(
    connect: Callable[..., Terminal], tiny_migration: Path, tmp_path: Path, home: Path
) -> None:
    settings = tiny_migration.read_text().replace('approval = "auto"', 'approval = "ask"')
    tiny_migration.write_text(settings.replace("epochs = 2", "epochs = 8").replace("samples = 2", "samples = 1"))
    run = Run(home / "runs" / "tiny")

    # 1. Cut off in the middle of fine-tuning.
    screen = connect("run", "migration.toml")
    screen.read_until("started: from sandbox")
    wait_for(run, TrainMetrics)
    hang_up(screen)
    status = run.status()
    assert (status.stage, status.seen(time.time())) == ("finetune", "running")
    assert status.process is not None
    assert busiest([psutil.Process(status.process.pid)]) < BUSY, "the worker only passes on what its stage says"

    # 2. Come back, see everything, and be cut off while the decision waits.
    screen = connect("attach", "tiny")
    screen.read_until(ASKS, seconds=120)
    screen.press("w")
    screen.read_until("Saved to")
    history = subprocess.run([PROGRAM, "logs", "tiny"], capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "tiny-events.txt").read_text() == history
    assert "finetune" in history
    hang_up(screen)
    assert run.status().seen(time.time()) == "waiting"
    assert busiest(ours()) < BUSY

    # 3. Two terminals answer the one decision at once.
    screens = [connect("attach", "tiny") for _ in range(2)]
    for screen in screens:
        screen.read_until(ASKS)
    for screen in screens:
        screen.press("a")
    wait_for(run, QuestionAnswered)
    for screen in screens:
        screen.read_until("approved: 12 new pairs")
        screen.press("q")
        assert screen.exit_status() == 130
    actions.stop(run)
    given = [event for event in EventReader(run.events_file).read_new() if isinstance(event, QuestionAnswered)]
    assert [(event.question.key, event.approved, event.pairs) for event in given] == [("round/1", True, 12)]
    assert commands.answer(run.commands_file, given[0].question) is not None
    assert not ours()
