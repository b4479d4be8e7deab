"""Signals for a process and all that it started: a launcher puts each process of a stage into a session of its own.

A run's folder may have come from somebody else, so what its status says is checked before a process is signalled.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.protocol.errors import LlamaDuoError
from engine.protocol.terminal import one_line

if TYPE_CHECKING:
    import psutil

    from engine.protocol.run_dir import Run
    from engine.protocol.status import Process

PROGRAMS = ("engine.worker", "engine.stages")
"""The modules that work on a run, and those in them; a launcher's command line names one of them, too."""


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


def works_on(run: Run, process: Process | None) -> bool:
    """Whether a process that a run's status names is alive, and provably one that works on this run.

    It was started when the status says, in this boot; it belongs to the owner of the status; and its command line
    names the run's folder.
    """
    return process is not None and _proven(run, process) is not None


def terminate(run: Run, worker: Process) -> None:
    """Send SIGTERM to a run's worker; one that is gone is passed over.

    Raises LlamaDuoError where the process is not provably that run's.
    """
    proven = _proven(run, worker)
    if proven is not None:
        import psutil

        with suppress(psutil.NoSuchProcess):
            proven.terminate()
    elif worker.alive:
        raise LlamaDuoError(
            f"process {worker.pid}, which {one_line(run.name, 60)} names as its worker, works on something else: "
            "it gets no signal",
            f"see what it is: ps -f {worker.pid}",
        )


def end_orphan(run: Run, child: Process | None) -> None:
    """Kill a stage whose worker is gone: it must not write next to its successor."""
    if child is not None and _proven(run, child) is not None:
        kill_tree(child.pid, wait_s=10)


def _proven(run: Run, process: Process) -> psutil.Process | None:
    if not (process.here and process.alive):
        return None
    import psutil

    try:
        found = psutil.Process(process.pid)
        owner, line = found.uids().real, found.cmdline()
        named = any(_is_program(word) for word in line) and any(_is_folder(word, run.folder) for word in line)
        mine = owner == run.status_file.stat().st_uid
        return found if named and mine and process.alive else None
    except (psutil.Error, OSError):
        return None


def _is_program(word: str) -> bool:
    return any(word == program or word.startswith(f"{program}.") for program in PROGRAMS)


def _is_folder(word: str, folder: Path) -> bool:
    try:
        return word.startswith("/") and Path(word).samefile(folder)
    except (OSError, ValueError):
        return False
