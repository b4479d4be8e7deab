import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.protocol import jsonl
from engine.protocol.errors import DamagedError, InputError, LlamaDuoError
from engine.protocol.lock import lock
from engine.protocol.manifest import Manifest, finish, manifest
from engine.protocol.run_dir import Run, all_runs, create, find
from engine.protocol.status import STALE_AFTER_S, Process, Status
from engine.settings.load import settings_of

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
HOLD = """
import sys, time
from dataclasses import replace
from pathlib import Path
from engine.protocol.lock import lock
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, Status
import os
run = Run(Path(sys.argv[1]))
with lock(run):
    run.write_status(Status(state="running", process=Process.of(os.getpid()), heartbeat=time.time()))
    print("held", flush=True)
    sys.stdin.read()
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program in Python; what is left at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path / "runs", "demo", SETTINGS)


def test_a_new_run(run: Run) -> None:
    assert run.status() == Status()
    assert settings_of(run).service.model == "sandbox"
    assert stat.S_IMODE(run.status_file.stat().st_mode) == 0o600
    assert run.round(3).name == "round-03"


def test_a_name_in_use_gets_a_number(tmp_path: Path, run: Run) -> None:
    (tmp_path / "runs" / "demo-2").touch()

    assert create(tmp_path / "runs", "demo", SETTINGS).name == "demo-3"
    assert create(tmp_path / "runs", "demo", SETTINGS).name == "demo-4"


HOSTILE = ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "a\n", "-rf", ".hidden", "x" * 300, "a b", "\x1b[31m"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        create(tmp_path / "runs", name, SETTINGS)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", [*HOSTILE, "none", "lock"])
def test_no_run_is_found_outside_the_root(tmp_path: Path, run: Run, name: str) -> None:
    for folder in (tmp_path, tmp_path / "runs"):
        (folder / "migration.toml").write_text(SETTINGS)

    with pytest.raises(InputError, match="no run") as caught:
        find(tmp_path / "runs", name)
    assert caught.value.hint == "there are: demo"


def test_runs_are_found_newest_first(tmp_path: Path, run: Run) -> None:
    other = create(tmp_path / "runs", "other", SETTINGS)
    os.utime(run.settings_file, (1, 1))

    assert all_runs(tmp_path / "runs") == [other, run]
    assert find(tmp_path / "runs", "demo") == run
    assert all_runs(tmp_path / "none") == []
    with pytest.raises(InputError, match="no run 'demo'"):
        find(tmp_path / "none", "demo")


def test_a_long_name_in_wide_characters(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be made"):
        create(tmp_path, "漢" * 100, SETTINGS)


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made") as caught:
        create(tmp_path / "file", "demo", SETTINGS)
    assert "--runs-dir" in caught.value.hint


def test_decisions_come_by_round(run: Run) -> None:
    for number in (100, 2, 11, 0):
        score = {"mean": 50.0}
        row = {"round": number, "reason": "", "precision": score, "similarity": score}
        jsonl.write_json(run.decision_file(number), row)

    assert [row["round"] for row in run.decisions()] == [0, 2, 11, 100]


def test_a_folder_is_complete_with_its_manifest(run: Run) -> None:
    assert manifest(run.coverage) is None
    made = Manifest(stage="coverage", inputs={"a": "b"}, settings="x", seed=1, counts={"rows": 2}, seconds=1.5)
    done = finish(run.coverage, made)

    assert manifest(run.coverage) == done
    assert "torch" in done.versions and done.finished > 0
    assert replace(done, versions={}, finished=0.0) == made


# Who works on a run


def test_a_status_comes_back(run: Run) -> None:
    me = Process.of(os.getpid())
    status = Status(state="waiting", process=me, child=me, heartbeat=1.5, round=2, stage="judge", cost_usd=0.1)
    run.write_status(status)

    assert run.status() == status
    assert me.alive


@pytest.mark.parametrize(
    "text", ["[1]", '{"state": "\\u001b[2J"}', '{"process": 7}', '{"process": {"pid": 1}}', '{"round": "1"}']
)
def test_a_status_that_is_none(run: Run, text: str) -> None:
    run.status_file.write_text(text)
    with pytest.raises(DamagedError, match=r"status\.json: is damaged"):
        run.status()


@pytest.mark.parametrize(
    "text", ["{}", '{"round": 1e400}', '{"round": 1, "reason": "", "precision": 5, "similarity": {}}']
)
def test_a_decision_that_is_none(run: Run, text: str) -> None:
    run.round(1).mkdir()
    run.decision_file(1).write_text(text)
    with pytest.raises(DamagedError, match=r"decision\.json: is damaged"):
        run.decisions()


def test_a_manifest_that_is_none(run: Run) -> None:
    run.coverage.mkdir()
    (run.coverage / "manifest.json").write_text('{"stage": "coverage"}')
    with pytest.raises(DamagedError, match="missing"):
        manifest(run.coverage)


def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    me = Process.of(os.getpid())

    assert me.alive
    assert not replace(me, started=me.started - 60).alive
    assert not replace(me, pid=2**22 + 1).alive


def test_a_zombie_is_not_alive(start: Start) -> None:
    program = start("print(flush=True); input()")
    process = Process.of(program.pid)
    assert process.alive
    program.kill()
    os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)

    assert psutil.Process(program.pid).status() == psutil.STATUS_ZOMBIE
    assert not process.alive


def test_what_readers_see() -> None:
    me = Process.of(os.getpid())
    gone = replace(me, started=1.0)
    elsewhere = replace(gone, host="another-box")
    late = 1000.0 + STALE_AFTER_S + 1

    for state in ("running", "waiting", "paused"):
        assert Status(state=state, process=me, heartbeat=1000).seen(1001) == state
        assert Status(state=state, process=me, heartbeat=1000).seen(late) == "stale"
        assert Status(state=state, process=gone, heartbeat=1000).seen(1001) == "crashed"
        assert Status(state=state, process=elsewhere, heartbeat=1000).seen(1001) == state
        assert Status(state=state, process=elsewhere, heartbeat=1000).seen(late) == "stale"
    for state in ("new", "reached", "stopped", "failed"):
        assert Status(state=state, process=gone, heartbeat=1000).seen(late) == state


def test_only_one_works_on_a_run(run: Run, start: Start) -> None:
    holder = start(HOLD, run.folder)

    with pytest.raises(LlamaDuoError, match=rf"already being worked on \(pid {holder.pid}\)") as caught, lock(run):
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
    run.write_status(Status(state="running", process=other, heartbeat=time.time()))
    with pytest.raises(LlamaDuoError, match="already being worked on"), lock(run):
        pass

    run.write_status(Status(state="running", process=other, heartbeat=time.time() - STALE_AFTER_S - 1))
    with lock(run):
        pass


def test_an_orphan_is_ended_and_a_stranger_is_not(run: Run, start: Start) -> None:
    orphan, stranger = (start("print(flush=True); input()") for _ in range(2))
    gone = Process(pid=1, started=1.0, host=socket.gethostname())
    child = Process.of(orphan.pid)
    run.write_status(Status(state="running", process=gone, child=child))
    with lock(run):
        assert not child.alive

    run.write_status(Status(state="running", process=gone, child=replace(Process.of(stranger.pid), started=1.0)))
    with lock(run):
        assert stranger.poll() is None


def test_a_run_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(LlamaDuoError, match="cannot be written"), lock(Run(tmp_path / "gone")):
        pass
