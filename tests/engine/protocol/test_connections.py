"""Connections that send nothing are closed where they are many, and none with a request at work."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from engine.protocol.connections import MOST_FILES, Connections, allow_many

ASK = (
    "import resource; from engine.protocol.connections import allow_many as ask; print(ask(), resource.getrlimit(7)[0])"
)


class Opened:
    def __init__(self) -> None:
        self.closed = False

    def force_close(self) -> None:
        self.closed = True


def test_those_that_wait_longest_are_closed_beyond_the_most() -> None:
    opened = [Opened() for _ in range(5)]
    connections = Connections(3)
    connections.close_waiting(opened[:3])
    assert not any(one.closed for one in opened)
    with connections.at_work(opened[0]):
        connections.close_waiting(opened)
    assert [one.closed for one in opened] == [False, True, True, False, False]
    connections.close_waiting(opened[:1] + opened[3:] + [Opened()])
    assert opened[0].closed, "its request is answered"


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_NOFILE has another number")
@pytest.mark.parametrize("hard", [300, 4096])
def test_a_server_asks_for_as_many_files_as_it_may_have(hard: int) -> None:
    assert resource.RLIMIT_NOFILE == 7
    limits = (256, hard)
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
    )
    assert done.stdout.split() == [str(hard)] * 2
    assert allow_many() <= MOST_FILES or resource.getrlimit(resource.RLIMIT_NOFILE)[0] > MOST_FILES
