from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from engine.protocol.processes import kill_tree, signal_tree

PARENT = """
import subprocess, time
subprocess.Popen(["sleep", "600"], start_new_session=True)
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def tree() -> Iterator[list[psutil.Process]]:
    """A process and its child, which has a session of its own, as torchrun's have."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    process = psutil.Process(parent.pid)
    processes = [process, *process.children()]
    yield processes
    for one in psutil.wait_procs(processes, timeout=0)[1]:
        one.kill()
    parent.stdout.close()
    parent.wait()


def states(tree: list[psutil.Process]) -> list[str]:
    return [process.status() for process in tree]


def test_a_signal_reaches_the_descendants(tree: list[psutil.Process]) -> None:
    signal_tree(tree[0].pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while states(tree) != [psutil.STATUS_STOPPED] * 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    signal_tree(tree[0].pid, signal.SIGCONT)
    while psutil.STATUS_STOPPED in states(tree):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_with_all_descendants_even_if_stopped(tree: list[psutil.Process]) -> None:
    signal_tree(tree[0].pid, signal.SIGSTOP)
    kill_tree(tree[0].pid, wait_s=10)
    assert not any(process.is_running() for process in tree)


def test_what_is_gone_is_passed_over() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    signal_tree(process.pid, signal.SIGTERM)
    kill_tree(process.pid, wait_s=1)
