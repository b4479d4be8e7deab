"""Signals for a process and all that it started: a launcher puts each process of a stage into a session of its own.

A run's folder may have come from somebody else, so what its status says is checked before a process is signalled.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.protocol.boot import boot_id, start_of
from engine.protocol.errors import LlamaDuoError
from engine.protocol.terminal import one_line

if TYPE_CHECKING:
    import psutil

    from engine.protocol.run_dir import Run
    from engine.protocol.status import Process

WORK = ("engine.worker", "engine.stages")
"""The modules that work on a run, and those in them; a launcher's command line names one of them, too."""

BY_SIGNAL = 128
"""What a shell adds to the number of a signal that has ended a process."""

DOOR = ("engine.takeover",)
SERVER = ("engine.release.serve",)


def how_ended(status: int) -> str:
    """How a process ended, in words, by its exit status as a shell or Python gives it."""
    try:
        return f"was ended by {signal.Signals(-status if status < 0 else status - BY_SIGNAL).name}"
    except ValueError:
        return f"ended with status {status}"


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
    return process is not None and _proven(run.folder, process, WORK, _owner(run)) is not None


def terminate(run: Run, worker: Process) -> None:
    """Send SIGTERM to a run's worker; one that is gone is passed over.

    Raises LlamaDuoError where the process is not provably that run's.
    """
    send(worker, signal.SIGTERM, WORK, run.folder, _owner(run))


def send(process: Process, number: int, programs: tuple[str, ...], folder: Path, owner: int | None = None) -> None:
    """Send a signal to a process that provably runs one of these programs on a folder; one that is gone is passed over.

    `owner` is the user that it has to belong to, by default this one. Raises LlamaDuoError where it is another process.
    """
    proven = _proven(folder, process, programs, owner)
    if proven is not None:
        import psutil

        with suppress(psutil.NoSuchProcess):
            proven.send_signal(number)
    elif process.alive:
        when = "" if process.here else f", known from {one_line(process.host, 60)} or from before a reboot"
        raise LlamaDuoError(
            f"process {process.pid} works on something else than {one_line(folder.name, 60)}{when}: it gets no signal",
            f"see what it is: ps -f {process.pid}",
        )


def end_orphan(run: Run, child: Process | None) -> None:
    """Kill a stage whose worker is gone: it must not write next to its successor."""
    if child is not None and works_on(run, child):
        kill_tree(child.pid, wait_s=10)


def _owner(run: Run) -> int:
    """Whose run it is; -1 for one that is gone."""
    try:
        return run.status_file.stat().st_uid
    except OSError:
        return -1


def _proven(folder: Path, process: Process, programs: tuple[str, ...], owner: int | None) -> psutil.Process | None:
    if not _lives(process):
        return None
    import psutil

    try:
        found = psutil.Process(process.pid)
        line = found.cmdline()
        named = any(_is_program(word, programs) for word in line) and any(_is_folder(word, folder) for word in line)
        mine = found.uids().real == (os.geteuid() if owner is None else owner)
        return found if named and mine and _lives(process) else None
    except (psutil.Error, OSError):
        return None


def _lives(process: Process) -> bool:
    """Whether a process runs here, with the pid and the start that it has; where no boot has an id, that has to do."""
    nameless = not process.boot and not boot_id()
    return (process.here or nameless) and start_of(process.pid) == process.started


def _is_program(word: str, programs: tuple[str, ...]) -> bool:
    return any(word == program or word.startswith(f"{program}.") for program in programs)


def _is_folder(word: str, folder: Path) -> bool:
    try:
        return word.startswith("/") and Path(word).samefile(folder)
    except (OSError, ValueError):
        return False
