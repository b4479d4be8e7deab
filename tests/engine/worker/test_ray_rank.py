"""The process that an actor holds on a node: its lines, its end, and its pause when nobody asks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine.worker import ray_rank
from engine.worker.ray_rank import Rank

SAYS = """
import os, sys
print("out", os.environ["RANK"], *sys.argv[1:], flush=True)
print("err", file=sys.stderr, flush=True)
sys.stdin.read(1)
sys.exit(3)
"""
WORKS = """
import time
if __name__ == "__main__":
    while True:
        print("at work", flush=True)
        time.sleep(0.05)
"""


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "works.py").write_text(WORKS)
    (tmp_path / "says.py").write_text(f"if __name__ == '__main__':\n    exec({SAYS!r})\n")
    return str(tmp_path)


def test_lines_come_with_their_stream_and_the_status_last(source: str) -> None:
    rank = Rank()
    assert rank.start("says", ["x"], {"RANK": "1"}, source) == ""
    lines: list[tuple[int, bytes]] = []
    while len(lines) < 2:
        new, status = rank.poll(1.0)
        lines += new
        assert status is None
    assert sorted(lines) == [(1, b"out 1 x\n"), (2, b"err\n")]
    assert rank._process is not None and rank._process.stdin is not None
    rank._process.stdin.close()
    while (ended := rank.poll(0.2)[1]) is None:
        pass
    assert ended == 3


def test_a_module_that_the_node_lacks_is_told(source: str) -> None:
    assert "No module named 'lacks'" in Rank().start("lacks", [], {}, source)


def test_it_stands_still_while_nobody_polls(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_rank, "SILENCE_S", 0.3)
    rank = Rank()
    rank.start("works", [], {}, source)
    assert rank._process is not None
    process = psutil.Process(rank._process.pid)
    until(lambda: process.status() == psutil.STATUS_STOPPED)
    rank.poll(0.0)
    assert process.status() != psutil.STATUS_STOPPED
    process.kill()
    until(lambda: rank.poll(0.0)[1] == -9)


def test_the_interface_of_an_address() -> None:
    loopback = ray_rank._interface("127.0.0.1")
    assert loopback in psutil.net_if_addrs() and ray_rank._interface("203.0.113.9") == ""
    assert sys.platform != "linux" or loopback == "lo"
