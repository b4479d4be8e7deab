import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from engine.protocol.errors import DamagedError
from engine.protocol.run_dir import Run, create
from engine.protocol.status import STALE_AFTER_S, Dropped, Process, State, Status, Stopping

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path / "runs", "demo", SETTINGS)


def test_a_status_comes_back(run: Run) -> None:
    me = Process.of(os.getpid())
    status = Status(state=State.WAITING, process=me, child=me, heartbeat=1.5, round=2, stage="judge", cost_usd=0.1)
    run.write_status(status)

    assert run.status() == status
    assert me.alive


@pytest.mark.parametrize(
    "text", ["[1]", '{"state": "\\u001b[2J"}', '{"process": 7}', '{"process": {"pid": 1}}', '{"round": "1"}']
)
def test_a_status_that_is_none(run: Run, text: str) -> None:
    run.status_file.write_text(text)
    with pytest.raises(DamagedError, match=r"status\.json: damaged"):
        run.status()


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
    elsewhere = replace(me, boot="of another box", host="another-box")
    late = 1000.0 + STALE_AFTER_S + 1

    for state in (State.RUNNING, State.WAITING, State.PAUSED):
        assert Status(state=state, process=me, heartbeat=1000).seen(1001) == state
        assert Status(state=state, process=me, heartbeat=1000).seen(late) == "stale"
        assert Status(state=state, process=gone, heartbeat=1000).seen(1001) == "crashed"
        assert Status(state=state, process=elsewhere, heartbeat=1000).seen(1001) == state
        for now in (late, 1000 - STALE_AFTER_S - 1):
            unknown = Status(state=state, process=elsewhere, heartbeat=1000)
            assert [unknown.seen(now, lambda held=held: held) for held in (True, False, None)] == [
                "stale",
                "crashed",
                "crashed",
            ]
        contained = Status(state=state, process=replace(me, space="pid:[1]"), heartbeat=1000)
        assert [contained.seen(1001, lambda held=held: held) for held in (True, False)] == [state, "crashed"]
        beating = Status(state=state, process=me, heartbeat=1000, beat=time.monotonic())
        assert beating.seen(late) == beating.seen(0) == state, "the clock was set"
        assert replace(beating, beat=time.monotonic() - STALE_AFTER_S - 1).seen(1000) == "stale"
    for state in (State.NEW, State.REACHED, State.MISSED, State.STOPPED, State.FAILED):
        assert Status(state=state, process=gone, heartbeat=1000).seen(late) == state


def test_a_run_that_is_about_to_stop(run: Run) -> None:
    me = Process.of(os.getpid())
    waits = Stopping(calls=8, until=130.0)
    status = Status(state=State.PAUSED, process=me, heartbeat=100.0, stopping=waits, cost_usd=0.1, interrupted_usd=0.3)
    run.write_status(status)

    assert run.status() == status and status.spent_usd == pytest.approx(0.4)
    assert status.seen(100.0) is State.STOPPING and status.seen(100.0).working
    assert status.seen(101 + STALE_AFTER_S) is State.STALE
    assert replace(status, process=replace(me, started=1.0)).seen(100.0) is State.CRASHED
    assert replace(status, state=State.STOPPED).seen(100.0) is State.STOPPED
    run.status_file.write_text(run.status_file.read_text().replace('"paused"', '"stopping"'))
    with pytest.raises(DamagedError, match="invalid state stopping"):
        run.status()


@pytest.mark.parametrize(
    ("calls", "now", "said"),
    [
        (8, 35.0, "waits for 8 calls in flight, at most 1 min 35 s"),
        (1, 129.6, "waits for 1 call in flight, at most 0 s"),
        (1200, 140.0, "waits for 1,200 calls in flight, at most 0 s"),
    ],
)
def test_a_wait_counts_down(calls: int, now: float, said: str) -> None:
    assert Stopping(calls=calls, until=130.0).said(now) == said


@pytest.mark.parametrize(
    ("dropped", "said"),
    [
        (
            Dropped(calls=3, usd=0.03571),
            "3 calls were dropped; they may be billed, up to $0.0357, and count against the budget",
        ),
        (Dropped(calls=1, usd=2), "1 call was dropped; it may be billed, up to $2.0000, and counts against the budget"),
        (Dropped(calls=2, usd=0.0), "2 calls were dropped; resume sends them again"),
    ],
)
def test_dropped_calls_are_told_with_their_price(dropped: Dropped, said: str) -> None:
    assert str(dropped) == said
