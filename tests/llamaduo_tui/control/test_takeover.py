"""A drill that the released model can keep up with, started for the app."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import frozen
import pytest
from frozen import make
from msgspec.structs import replace

from engine.protocol import jsonl, records
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.release import Gate, Served, read_served, serving_file
from engine.protocol.run_dir import Run
from engine.protocol.status import Process
from engine.protocol.takeover import DoorCommand, DoorState, DoorStatus, Mode, files, send
from llamaduo_tui.control import takeover


@pytest.fixture
def run(root: Path) -> Run:
    return make(root, "done", "reached", frozen.REACHED)


def release(run: Run, name: str, seconds: float, *, passed: bool = True) -> None:
    gate = Gate(
        artefact=name, engine="", passed=passed, reason="", checks=(), margin=1.0, risk=0.05, prompts=56,
        seconds=seconds,
    )  # fmt: skip
    (run.release / name).mkdir(parents=True)
    jsonl.write_json(run.release / name / "gate.json", gate.to_row())


@pytest.mark.parametrize(
    ("seconds", "options"),
    [
        (70.0, ["--requests=20", "--rate=0.5"]),
        (28.0, ["--requests=40", "--rate=1.0"]),
        (1.0, ["--requests=200", "--rate=5.0"]),
        (0.0, ["--requests=200", "--rate=5.0"]),
    ],
)
def test_a_drill_asks_half_as_fast_as_the_model_answered_its_gate(run: Run, seconds: float, options: list[str]) -> None:
    release(run, "gguf-f16", 900.0, passed=False)
    release(run, "gguf-q8_0", seconds)
    assert takeover.drill_pace(run) == options


def test_what_a_drill_says_is_in_a_log_for_its_owner_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    release(run, "gguf-q8_0", 28.0)
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    log = run.folder / "takeover" / "drill.log"
    for _ in range(2):
        assert takeover.start_drill(run, log).wait() == 0
    said = log.read_text()
    assert said == f"-P -m engine.takeover drill {run.folder.resolve()} --requests=40 --rate=1.0\n"
    assert log.stat().st_mode & 0o777 == 0o600


SLEEP = (sys.executable, "-c", "import signal; signal.pause()")


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this user that has nothing to do with a run."""
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


def put(run: Run, keeper: Process) -> None:
    at = files(run.folder)
    at.folder.mkdir(exist_ok=True)
    jsonl.write_json(at.status, records.to_row(DoorStatus(keeper=keeper, address="http://127.0.0.1:1/v1")))


@pytest.mark.parametrize("act", [takeover.stop, takeover.restart])
def test_a_process_that_is_not_the_door_gets_no_signal(
    run: Run, stranger: subprocess.Popen[bytes], act: Callable[[Run], object]
) -> None:
    put(run, Process.of(stranger.pid))
    with pytest.raises(LlamaDuoError, match="works on something else than done: it gets no signal"):
        act(run)
    assert stranger.poll() is None


def test_a_door_from_before_a_reboot_is_gone_unless_its_lock_is_held(
    run: Run, stranger: subprocess.Popen[bytes]
) -> None:
    """Its pid is another process's by now; a door on another machine of a shared disk holds the lock."""
    put(run, replace(Process.of(stranger.pid), boot="an earlier one"))
    with pytest.raises(InputError, match="no door is at work"):
        takeover.stop(run)
    with files(run.folder).lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LlamaDuoError, match="before a reboot: it gets no signal"):
            takeover.stop(run)
    assert stranger.poll() is None


def test_the_door_itself_is_stopped(run: Run) -> None:
    door = subprocess.Popen([*SLEEP, "engine.takeover", "keep", str(run.folder)])
    put(run, Process.of(door.pid))
    takeover.stop(run)
    assert door.wait(10) == -signal.SIGTERM


def test_a_server_from_before_a_reboot_is_not_served(run: Run, stranger: subprocess.Popen[bytes]) -> None:
    process, path = Process.of(stranger.pid), serving_file(run.release)
    path.parent.mkdir(parents=True, exist_ok=True)
    earlier = replace(process, boot="an earlier one"), replace(process, started=1.0)
    for known in (process, *earlier):
        row = Served(
            artefact="lora", pid=process.pid, host="127.0.0.1", port=1, model="m", engine="", log="", up=True,
            restarts=0, since=0.0, process=known,
        )  # fmt: skip
        jsonl.write_json(path, records.to_row(row))
        assert (read_served(run.release) is not None) is (known is process)
    path.unlink()


def test_a_command_is_obeyed_whatever_the_clocks_say(run: Run) -> None:
    """The terminal's clock is ahead of the door's, and the door obeyed two commands before it wrote its state."""
    at = files(run.folder)
    at.folder.mkdir()
    first, second = DoorCommand(kind="pause", time=9e9), DoorCommand(kind="resume", time=9e9)
    send(at, first)
    send(at, second)
    state = DoorState(mode=Mode.SHADOW, time=1.0)
    obeyed = [
        [takeover._has_obeyed(at, replace(state, obeyed=last), one) for one in (first, second)]
        for last in ("", first.id, second.id)
    ]
    assert obeyed == [[False, False], [True, False], [True, True]]
