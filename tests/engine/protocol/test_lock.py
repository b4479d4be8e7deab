import errno
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.protocol import commands
from engine.protocol import lock as locks
from engine.protocol.commands import Control
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.file_lock import Locked
from engine.protocol.lock import awaited, claim, lock
from engine.protocol.run_dir import Run, create
from engine.protocol.status import Process, State, Status

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
Start = Callable[..., "subprocess.Popen[str]"]
HOLD = """
import sys, time
from msgspec.structs import replace
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


@contextmanager
def beating(run: Run, status: Status) -> Iterator[None]:
    """A worker elsewhere, whose clock stands still but for its heartbeats."""
    ended = threading.Event()

    def beat() -> None:
        number = 0
        while not ended.wait(0.05):
            run.write_status(replace(status, heartbeat=status.heartbeat + (number := number + 1)))

    thread = threading.Thread(target=beat)
    thread.start()
    yield
    ended.set()
    thread.join()


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


def test_a_worker_of_another_host_counts_while_its_heart_beats(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's lock does not reach over every network file system, and pids repeat between containers."""
    monkeypatch.setattr(locks, "LEASE_S", 0.3)
    other = Process(pid=os.getpid(), started=1.0, host="another-box", boot="of another box")
    status = Status(state=State.RUNNING, process=other, heartbeat=time.time() - 3600)
    run.write_status(status)
    with beating(run, status), pytest.raises(LlamaDuoError) as caught, lock(run):
        pass
    assert caught.value.message == f"demo already has a worker (pid {os.getpid()} on another-box)"

    with lock(run) as locked:
        assert locked is Locked.MINE


def test_what_taking_a_run_up_waits_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Process(pid=7, started=1.0, host="another-box", boot="of another box")
    mine = Process.of(os.getpid())
    for process, state, waits in (
        (away, State.RUNNING, True),
        (away, State.STOPPED, False),
        (mine, State.RUNNING, False),
        (replace(mine, space="another container's"), State.RUNNING, False),
        (None, State.RUNNING, False),
    ):
        run.write_status(Status(state=state, process=process))
        assert bool(awaited(run)) is waits
    run.write_status(Status(state=State.RUNNING, process=away))
    assert awaited(run) == (
        "demo was last worked on elsewhere (pid 7 on another-box): waiting 15 s for a heartbeat, to be sure that this "
        "worker is gone"
    )


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_the_heartbeat_is_a_lease(run: Run, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "LEASE_S", 0.3)
    monkeypatch.setattr(locks, "CLAIM_S", 0.0)
    mine = Status(state=State.RUNNING, process=Process.of(os.getpid()), worker="me", heartbeat=time.time())
    with lock(run) as locked:
        assert locked is Locked.UNSUPPORTED
        run.write_status(mine)
        claim(run, "me")
        run.write_status(replace(mine, worker="another"))
        with pytest.raises(LlamaDuoError, match="already has a worker"):
            claim(run, "me")

    away = replace(mine, process=Process(pid=1, started=1.0, host="another-box"))
    run.write_status(away)
    assert run.state() is State.RUNNING
    with beating(run, away), pytest.raises(LlamaDuoError, match="already has a worker"), lock(run):
        pass
    commands.send(run.commands_file, Control(kind="stop", worker=1))
    assert len(commands.read(run.commands_file)) == 1


def test_a_folder_that_is_no_run_is_not_worked_on(tmp_path: Path) -> None:
    project = Run(tmp_path / "project")
    project.folder.mkdir()
    project.settings_file.write_text(SETTINGS)
    with pytest.raises(InputError, match="not a run"), lock(project):
        pass
    assert [path.name for path in project.folder.iterdir()] == ["migration.toml"]


def test_an_orphan_is_ended_and_a_stranger_is_not(run: Run, start: Start) -> None:
    waits = "print(flush=True); input()"
    orphan, stranger = start(waits, "engine.stages", run.folder), start(waits)
    gone = replace(Process.of(1), started=1.0)
    child = Process.of(orphan.pid)
    for named in (replace(child, started=1.0), replace(child, boot="of another box"), Process.of(stranger.pid)):
        run.write_status(Status(state=State.RUNNING, process=gone, child=named))
        with lock(run):
            assert child.alive and stranger.poll() is None
    run.write_status(Status(state=State.RUNNING, process=gone, child=child))
    with lock(run):
        assert not child.alive


def test_a_run_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(LlamaDuoError, match="no such run"), lock(Run(tmp_path / "gone")):
        pass
