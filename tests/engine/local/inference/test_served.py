"""A server never outlives the process that wants it, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.local.inference.served import ServedProcess
from engine.protocol.processes import how_ended, signal_tree

PARENT = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from engine.local.inference.served import ServedProcess
from engine.protocol.processes import signal_tree
ServedProcess("server", [sys.executable, "-S", "-c", {server!r}], Path({log!r}))
sys.stdin.read()
"""

SERVER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
print("pids", os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def pids(log: Path) -> list[int]:
    """Of the server and its child, once it has printed them."""
    for _ in range(400):
        lines = log.read_text().splitlines() if log.exists() else []
        if found := [line for line in lines if line.startswith("pids ")]:
            return [int(pid) for pid in found[-1].split()[1:]]
        time.sleep(0.05)
    raise AssertionError("the server did not start")


def gone(*ids: int) -> bool:
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in ids if psutil.pid_exists(pid)], timeout=15)
    return not alive


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_process_that_started_it(how: signal.Signals, tmp_path: Path) -> None:
    log, root = tmp_path / "log", str(Path(__file__).parents[4])
    program = PARENT.format(root=root, server=SERVER, log=str(log))
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    server = pids(log)
    os.kill(parent.pid, how)
    parent.wait()
    assert gone(*server)


def test_it_ends_when_told_and_with_all_that_it_started(tmp_path: Path) -> None:
    served = ServedProcess("server", [sys.executable, "-S", "-c", SERVER], tmp_path / "log")
    server = pids(tmp_path / "log")
    assert served.status is None
    served.end()
    assert gone(*server) and served.status is not None


def test_what_kills_it_is_named(tmp_path: Path) -> None:
    served = ServedProcess("server", [sys.executable, "-S", "-c", SERVER], tmp_path / "log")
    server = pids(tmp_path / "log")
    served.kill()
    while (status := served.status) is None:
        time.sleep(0.02)
    assert (status, how_ended(status)) == (137, "was ended by SIGKILL")
    assert gone(*server)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (-9, "was ended by SIGKILL"),
        (143, "was ended by SIGTERM"),
        (0, "ended with status 0"),
        (255, "ended with status 255"),
    ],
)
def test_how_a_process_ended(status: int, said: str) -> None:
    assert how_ended(status) == said


def test_a_server_of_this_program_says_itself_why_it_ends(tmp_path: Path) -> None:
    said = "print('Failed to load kernels'); print('error: a tensor is missing; restore it'); print('no module: error')"
    served = ServedProcess("server", [sys.executable, "-S", "-c", said], tmp_path / "log")
    while served.status is None:
        time.sleep(0.02)
    assert served.failed("ended", "x").message == "server ended: a tensor is missing; restore it"


def test_the_log_grows_and_errors_show_the_lines_of_this_start_that_tell(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("an earlier start failed\n")
    said = "print('\\x1b[31mValueError: bad flag\\x1b[0m'); print('bye'); raise SystemExit(3)"
    served = ServedProcess("server", [sys.executable, "-S", "-c", said], log)
    while served.status is None:
        time.sleep(0.02)
    error = served.failed("did not start", "check it")
    assert served.status == 3
    assert error.message == "server did not start: ValueError: bad flag" and str(log) in error.hint
    assert log.read_text().startswith("an earlier start failed\n")
    served.end()


def test_the_log_shows_names_instead_of_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOX_TOKEN", "sk-of-the-box")
    monkeypatch.setenv("BOX_WORD", "another-secret")
    said = "import os; print('got', os.environ['BOX_TOKEN']); print(os.environ['BOX_WORD'], 'SVC_KEY' in os.environ)"
    monkeypatch.setenv("SVC_KEY", "sk-of-the-service")
    log = tmp_path / "log"
    command = [sys.executable, "-S", "-c", said]
    served = ServedProcess("server", command, log, without={"SVC_KEY"}, secrets={"BOX_WORD"})
    while served.status is None:
        time.sleep(0.02)
    served.end()
    assert log.read_text() == "got $BOX_TOKEN\n$BOX_WORD False\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_signals_to_its_guard_end_it_even_when_they_come_again(number: signal.Signals, tmp_path: Path) -> None:
    slow = f"import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), exit()))\n{SERVER}"
    served = ServedProcess("server", [sys.executable, "-S", "-c", slow], tmp_path / "log")
    server = pids(tmp_path / "log")
    for _ in range(3):
        served._guard.send_signal(number)
        time.sleep(0.03)
    assert gone(*server)
    served.end()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a signal for this")
def test_a_paused_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    log, root = tmp_path / "log", str(Path(__file__).parents[4])
    program = PARENT.format(root=root, server=SERVER, log=str(log))
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    server = pids(log)
    signal_tree(parent.pid, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    assert gone(*server)


def test_the_cause_is_told_and_not_what_follows_from_it(tmp_path: Path) -> None:
    """As vLLM's processes tell of each other."""
    log = f"""
INFO 11-27 19:18:27 [api.py:1] starting, with default Error: none
(Worker-0 pid=7) ERROR 11-27 19:18:41 [executor.py:953] Traceback (most recent call last):
(Worker-0 pid=7) ERROR 11-27 19:18:41 [executor.py:953]     raise ValueError(
(Worker-0 pid=7) ERROR 11-27 19:18:41 [executor.py:953] ValueError: Available memory is less than desired.
{"(Worker-0 pid=7) ERROR 11-27 19:18:41 [executor.py:953]   File x.py, line 1" * 400}
(EngineCore pid=6) Exception: WorkerProc initialization failed. See stack trace for root cause.
(APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}
"""
    server = ServedProcess("server", [sys.executable, "-S", "-c", f"print({log!r})"], tmp_path / "log")
    while server.status is None:
        time.sleep(0.02)
    assert server.failed("did not start", "x").message == (
        "server did not start: ValueError: Available memory is less than desired."
    )
