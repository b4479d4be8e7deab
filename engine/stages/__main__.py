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
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from engine.local.world import rank, take_own_device
from engine.protocol import jsonl, sharing
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.events import Emit
from engine.protocol.notices import label_notices
from engine.protocol.run_dir import Run
from engine.protocol.secrets import Redacted
from engine.protocol.stages import BY_NAME, STAGES, Place, Stage
from engine.settings.load import settings_of
from engine.stages.base import NO_ROUND, Job, Recorder
from engine.stages.child import exit_with_parent, take_standard_output
from engine.stages.failure import explain


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
        exit_with_parent()
    take_own_device()
    emit, status = take_standard_output(), 0
    try:
        _work(BY_NAME[args.stage], Run(args.run), args.round, emit)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the worker must hear of it
        failure = explain(error, stage=args.stage)
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
    jsonl.never_make(run.folder)
    first = rank() == 0
    job = Job(
        run=run,
        settings=settings_of(run),
        round=round_,
        folder=stage.folder(run, round_),
        emit=emit if first else lambda _: None,
    )
    os.umask(sharing.umask(job.settings.run.share))  # on another machine it is not the worker's
    sys.stdout, sys.stderr = (Redacted(stream, job.settings.key_names) for stream in (sys.stdout, sys.stderr))
    label_notices()
    recorder = Recorder(stage, job)
    result = importlib.import_module(f"engine.stages.{stage.name}").run(job)
    if first:
        recorder.finish(result)


if __name__ == "__main__":
    main()
