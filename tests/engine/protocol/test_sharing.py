"""Who may read what of a run: by modes, whatever the umask, and as another user of the machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.protocol import commands, sharing
from engine.protocol.commands import Control
from engine.protocol.run_dir import Run, create
from engine.protocol.sharing import Readers
from engine.protocol.status import Process, State, Status

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
CONTENTS = ("events.jsonl", "worker.log", "ledger.sqlite", "coverage/train.jsonl", "round-00/infer/responses.jsonl")
SEALED = "coverage/test.sealed"
STATE = ("format", "status.json", "round-00/decision.json")
OTHER = 54321


@pytest.fixture(params=[0o000, 0o022, 0o077])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def make(root: Path) -> Run:
    run = create(root, "demo", SETTINGS)
    for name in (*CONTENTS, SEALED, "round-00/decision.json"):
        path = run.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    return run


def modes(run: Run, *names: str) -> set[str]:
    return {stat.filemode((run.folder / name).stat().st_mode) for name in names}


def test_a_run_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    run = create(tmp_path / "runs", "demo", SETTINGS)
    commands.send(run.commands_file, Control(kind="stop", worker=1))
    run.write_status(Status())

    assert modes(run, ".") == {"drwx------"}
    assert modes(run, *(path.name for path in run.folder.iterdir())) == {"-rw-------"}


def test_what_a_group_may_read(tmp_path: Path, mask: int) -> None:
    run = make(tmp_path / "runs")
    outside = tmp_path / "outside"
    outside.write_text("")
    outside.chmod(0o644)
    (run.folder / "link").symlink_to(outside)

    sharing.apply(run, "none")
    assert modes(run, *STATE, *CONTENTS, SEALED) == {"-rw-------"}
    assert modes(run, ".", "round-00", "round-00/infer") == {"drwx------"}

    sharing.apply(run, "group")
    run.write_status(Status(state=State.STOPPED))
    assert modes(run, *STATE) == {"-rw-r-----"} and modes(run, *CONTENTS, SEALED) == {"-rw-------"}
    run.make_folder(run.round(1) / "infer")
    assert modes(run, ".", "round-00", "round-01") == {"drwxr-x---"}
    assert modes(run, "round-00/infer", "round-01/infer") == {"drwx------"}

    sharing.apply(run, "all")
    assert modes(run, *STATE, *CONTENTS) == {"-rw-r-----"} and modes(run, SEALED) == {"-rw-------"}
    assert stat.filemode(outside.stat().st_mode) == "-rw-r--r--"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to any group")
@pytest.mark.parametrize("share", ["group", "all"])
def test_all_of_a_run_in_a_shared_folder_belongs_to_its_group(tmp_path: Path, share: Readers, mask: int) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    os.chown(root, -1, OTHER)
    root.chmod(0o2775)
    run = create(root, "demo", SETTINGS)
    sharing.apply(run, share)
    for folder in (run.coverage, run.round(0) / "infer", run.final / "teacher" / "judge"):
        run.make_folder(folder)
        (folder.parent / "decision.json").write_text("{}\n")
    sharing.apply(run, share)
    assert {path.stat().st_gid for path in (run.folder, *run.folder.rglob("*"))} == {OTHER}


LOOK = """
import json, os, sys, time
from pathlib import Path
import psutil, unicodedata
import engine.settings.budget, engine.settings.load, engine.protocol.terminal
from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run, all_runs
from llamaduo_tui.cli import overview
from llamaduo_tui.control import actions, launch
from llamaduo_tui.views.run_list import RunList
from llamaduo_tui.views.watcher import RunWatcher
# The other user may not even be able to read Python's modules: they are loaded by now.
os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(54321)
root, names = Path(sys.argv[1]), sys.argv[2].split(",")
run = Run(root / "demo")
read = [name for name in names if os.access(run.folder / name, os.R_OK)]
written = [str(path) for path in [run.folder, *run.folder.rglob("*")] if os.access(path, os.W_OK)]
refused = []
for act in (actions.stop, actions.delete, lambda run: actions.pause(run, True), lambda run: launch.start(run, False),
            lambda run: actions.answer(run, "approve"), lambda run: actions.raise_budget(run, 5.0)):
    try:
        act(run)
    except LlamaDuoError as error:
        refused.append(error.message)
entries = [(entry.state, entry.owner, entry.mine) for entry in RunList(root).read()]
watched = []
if entries[0][0] != "private":
    update = RunWatcher(run).poll()
    watched = [update.state, update.mine, [line.text for line in update.events], update.output]
print(json.dumps([read, written, refused, entries, watched, overview.details(run), overview.table(all_runs(root))]))
"""


@pytest.fixture
def shared_root() -> Iterator[Path]:
    """A folder for runs that other users can reach, which pytest's own is not."""
    root = Path("/var/tmp") / f"llamaduo-shared-{os.getpid()}"
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


def as_another_user(run: Run, group: int) -> list[object]:
    names = ",".join((*STATE, *CONTENTS, SEALED))
    look = [sys.executable, "-c", LOOK, str(run.folder.parent), names, str(group)]
    environment = {**os.environ, "HOME": "/", "LLAMADUO_RUNS": str(run.folder.parent)}
    found = subprocess.run(look, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    answer: list[object] = json.loads(found.stdout)
    return answer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")
def test_another_user_reads_what_is_shared_and_changes_nothing(shared_root: Path) -> None:
    run = make(shared_root)
    (run.round(0) / "decision.json").unlink()
    worker = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", "engine.worker", str(run.folder)])
    try:
        run.write_status(Status(state=State.RUNNING, process=Process.of(worker.pid), heartbeat=1.0, stage="infer"))
        sharing.apply(run, "none")
        read, written, refused, entries, watched, details, _ = as_another_user(run, OTHER)
        assert (read, written, watched) == ([], [], []) and entries == [["private", "root", False]]
        assert isinstance(refused, list) and len(refused) == 6
        assert all("is a run of root" in one for one in refused)
        assert isinstance(details, list) and details[0] == "demo: private"

        sharing.apply(run, "group")
        read, written, refused, entries, watched, details, table = as_another_user(run, os.getegid())
        assert (read, written) == (["format", "status.json"], [])
        assert isinstance(refused, list) and len(refused) == 6
        assert isinstance(entries, list) and entries[0][1:] == ["root", False]
        assert isinstance(watched, list) and watched[1] is False and watched[3] == []
        assert "shares its state and scores" in watched[2][0]
        assert isinstance(details, list) and "  a run of root, to read only" in details
        assert isinstance(table, list) and table[1].startswith("demo (root)")
        assert worker.poll() is None
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()


def test_who_may_be_asked_for_a_file(tmp_path: Path) -> None:
    mine = sharing.denied(PermissionError(13, "Permission denied", str(tmp_path / "gone" / "a")))
    assert mine.message.endswith("gone/a: permission denied") and "ls -l" in mine.hint
    if os.geteuid() == 0:
        os.chown(tmp_path, OTHER, -1)
        theirs = sharing.denied(PermissionError(13, "Permission denied", str(tmp_path / "gone" / "a")))
        assert theirs.message.endswith(f"it is a file of user {OTHER}") and "ask its owner" in theirs.hint
