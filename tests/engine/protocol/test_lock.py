import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.protocol.errors import LlamaDuoError
from engine.protocol.lock import lock
from engine.protocol.run_dir import Run, create
from engine.protocol.status import STALE_AFTER_S, Process, State, Status

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
Start = Callable[..., "subprocess.Popen[str]"]
HOLD = """
import sys, time
from dataclasses import replace
from pathlib import Path
from engine.protocol.lock import lock
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State, Status
import os
run = Run(Path(sys.argv[1]))
with lock(run):
    run.write_status(Status(state=State.RUNNING, process=Process.of(os.getpid()), heartbeat=time.time()))
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path / "runs", "demo", SETTINGS)


def test_only_one_works_on_a_run(run: Run, start: Start) -> None:
    holder = start(HOLD, run.folder)

    with pytest.raises(LlamaDuoError, match=rf"already has a worker \(pid {holder.pid}\)") as caught, lock(run):
        pass
    assert caught.value.hint == "follow it: llamaduo-tui logs demo -f"

    holder.communicate()
    with lock(run):
        pass


def test_a_lock_is_free_when_its_holder_was_killed(run: Run, start: Start) -> None:
    holder = start(HOLD, run.folder)
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert run.status().seen(time.time()) == "crashed"
    with lock(run), pytest.raises(LlamaDuoError), lock(run):
        pass


def test_a_worker_of_another_host_counts_while_its_heart_beats(run: Run) -> None:
    """The kernel's lock does not reach over every network file system, and pids repeat between containers."""
    other = Process(pid=os.getpid(), started=1.0, host="another-box")
    run.write_status(Status(state=State.RUNNING, process=other, heartbeat=time.time()))
    with pytest.raises(LlamaDuoError, match="already has a worker"), lock(run):
        pass

    run.write_status(Status(state=State.RUNNING, process=other, heartbeat=time.time() - STALE_AFTER_S - 1))
    with lock(run):
        pass


def test_an_orphan_is_ended_and_a_stranger_is_not(run: Run, start: Start) -> None:
    orphan, stranger = (start("print(flush=True); input()") for _ in range(2))
    gone = Process(pid=1, started=1.0, host=socket.gethostname())
    child = Process.of(orphan.pid)
    run.write_status(Status(state=State.RUNNING, process=gone, child=child))
    with lock(run):
        assert not child.alive

    run.write_status(Status(state=State.RUNNING, process=gone, child=replace(Process.of(stranger.pid), started=1.0)))
    with lock(run):
        assert stranger.poll() is None


def test_a_run_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(LlamaDuoError, match="no such run"), lock(Run(tmp_path / "gone")):
        pass
