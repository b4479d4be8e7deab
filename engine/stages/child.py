"""The program around a stage that runs as a process of its own: `python -m engine.stages.NAME RUN ROUND`.

Its standard output is one JSON event a line, for whoever started it; all that libraries print goes to standard error.
A failure is a last `run.failed` event and the exit status.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from engine.protocol import jsonl
from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import Emit, Event, RunFailed, to_row
from engine.protocol.run_dir import Run

Stage = Callable[[Run, int | None, Emit], None]

FINAL = "final"
"""What stands for the round in the sealed test."""

FULL_DISK = re.compile(r"No space left|disk is full")
NO_MEMORY = re.compile(r"OutOfMemoryError|out of memory|allocate memory|ALLOC_FAILED", re.IGNORECASE)
"""How torch, CUDA and SQLite word it, which have no error types of their own for it."""


def main(stage: Stage) -> NoReturn:
    """Run one stage as the command line says, and exit."""
    parser = argparse.ArgumentParser(description="Run one stage of a run by itself; events go to standard output.")
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("round", type=_round, help=f"the round's number, or '{FINAL}' for the sealed test")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    args = parser.parse_args()
    if args.exit_with_parent:
        threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    emit = _take_standard_output()
    try:
        stage(Run(args.run), args.round, emit)
    except BaseException as error:
        failure = explain(error)
        emit(failure)
        if not isinstance(error, LlamaDuoError):
            raise
        sys.exit(failure.exit_status)
    sys.stderr.flush()
    os._exit(0)  # interpreter shutdown with torch's threads takes a second and can hang


def _round(text: str) -> int | None:
    return None if text == FINAL else int(text)


def explain(error: BaseException) -> RunFailed:
    """What a user is told of an error: known ones speak for themselves, the rest point to the log."""
    if isinstance(error, LlamaDuoError):
        return RunFailed(error=error.message, hint=error.hint, exit_status=error.exit_status)
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or FULL_DISK.search(str(error)):
        where = getattr(error, "filename", None)
        return RunFailed(
            error=f"the disk is full{f': {where}' if where else ''}",
            hint="free some space, then resume: complete stages are kept",
            exit_status=1,
        )
    if isinstance(error, MemoryError) or NO_MEMORY.search(f"{type(error).__name__} {error}"):
        return RunFailed(
            error="out of memory",
            hint="lower finetune.max_length or batch_size, or set local.quantization to nf4, then resume",
            exit_status=1,
        )
    line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return RunFailed(error=line, hint="the run's worker.log says where", exit_status=1)


def _take_standard_output() -> Emit:
    """Keep standard output for events; what anybody else prints goes to standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)

    def emit(event: Event) -> None:
        events.write(jsonl.dumps(to_row(event)) + "\n")
        events.flush()

    return emit


def _exit_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)
