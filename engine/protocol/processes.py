"""Signals for a process and all that it started: a launcher puts each process of a stage into a session of its own."""

from __future__ import annotations

import signal
from contextlib import suppress


def signal_tree(pid: int, number: int) -> None:
    """Send a signal to a process and its descendants, parents first; those that are gone are passed over."""
    import psutil  # it takes longer to import than a list of runs to read

    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.send_signal(number)
        for child in process.children():
            signal_tree(child.pid, number)


def kill_tree(pid: int, *, wait_s: float = 0.0) -> None:
    """Kill a process and its descendants, then wait that long for them to be gone."""
    import psutil

    signal_tree(pid, signal.SIGSTOP)  # a stopped process starts no other one
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        if wait_s:
            psutil.wait_procs(tree, timeout=wait_s)
