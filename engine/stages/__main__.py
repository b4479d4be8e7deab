"""`python -m engine.stages NAME RUN ROUND`: run one stage of a run in this process.

Its standard output is one JSON event a line, for the process that started it; all that libraries print goes to
standard error. A failure is a last `run.failed` event and the exit status.

A launcher may start several such processes, which share the work. The first alone reports and records; a failure is
reported by the process that fails.
"""

from __future__ import annotations

import argparse
import importlib
import os
import select
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn

from engine.local.world import rank, take_own_device
from engine.protocol import jsonl
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.events import Emit, Event, to_row
from engine.protocol.run_dir import Run
from engine.protocol.stages import BY_NAME, STAGES, Place, Stage
from engine.settings.load import settings_of
from engine.stages.base import NO_ROUND, Job, Recorder
from engine.stages.failure import explain

PARENT_POLL_S = 1.0


def main() -> NoReturn:
    """Run one stage as the command line says, and exit."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.stages", description="Run one stage of a run; events go to standard output."
    )
    names = [stage.name for stage in STAGES if stage.place is Place.OWN_PROCESS]
    parser.add_argument("stage", choices=names, help="the stage")
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument(
        "round", type=_round, help=f"the round's number; '{NO_ROUND}' for coverage and for the sealed test"
    )
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    args = parser.parse_args()
    if args.exit_with_parent:
        threading.Thread(target=_exit_with_parent, daemon=True).start()
    take_own_device()
    emit, status = _take_standard_output(), 0
    try:
        _work(BY_NAME[args.stage], Run(args.run), args.round, emit)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the worker must hear of it
        failure = explain(error)
        emit(failure)
        status = failure.exit_status
        if not isinstance(error, LlamaDuoError):
            traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)  # interpreter shutdown with torch's threads takes a second and can hang


def _round(text: str) -> int | None:
    return None if text == NO_ROUND else int(text)


def _work(stage: Stage, run: Run, round_: int | None, emit: Emit) -> None:
    if not run.settings_file.is_file():
        raise InputError(f"{run.folder}: not a run directory: it has no {run.settings_file.name}", "check the path")
    first = rank() == 0
    job = Job(
        run=run,
        settings=settings_of(run),
        round=round_,
        folder=stage.folder(run, round_),
        emit=emit if first else lambda _: None,
    )
    recorder = Recorder(stage, job)
    result = importlib.import_module(f"engine.stages.{stage.name}").run(job)
    if first:
        recorder.finish(result)


def _take_standard_output() -> Emit:
    """Keep standard output for events; what anybody else prints goes to standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)

    def emit(event: Event) -> None:
        events.write(jsonl.dumps(to_row(event)) + "\n")
        events.flush()

    return emit


def _exit_with_parent() -> None:
    """End this process when its standard input is closed, and when its parent is gone: a launcher's may stay open."""
    parent, closed = os.getppid(), False
    while not closed and os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], PARENT_POLL_S)
        closed = bool(readable) and not os.read(0, 4096)
    os._exit(1)


if __name__ == "__main__":
    main()
