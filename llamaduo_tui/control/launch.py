"""Starting a worker that outlives the terminal."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from engine.protocol import isolation, jsonl
from engine.protocol import run_dir as runs
from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import EventReader
from engine.protocol.lock import may_start
from engine.protocol.run_dir import Run
from engine.protocol.sharing import check_mine
from engine.settings import template
from engine.settings.load import PROMPTS_FILE, SCHEMA_FILE
from engine.settings.schema import Migration
from llamaduo_tui.views.log_lines import last_line

POLL_S = 0.05


def create(root: Path, name: str, settings: Migration, yes: bool) -> Run:
    """A new run directory with the settings frozen in it; `yes` approves every synthesis beforehand."""
    if yes:
        loop = settings.loop.model_copy(update={"approval": "auto"})
        settings = settings.model_copy(update={"loop": loop})
    run = runs.create(root, name, template.render(settings))
    with runs.made_whole(run.folder):
        frozen = _freeze(run, settings)
        if frozen != settings:
            jsonl.replace(run.settings_file, template.render(frozen), 0o600)
    return run


def _freeze(run: Run, settings: Migration) -> Migration:
    """Copy the files that the settings name into the run, so that changing them later changes no run."""
    task, judge = settings.task, settings.judge
    if judge.prompts:
        judge = judge.model_copy(update={"prompts": _copied(judge.prompts, run.folder / PROMPTS_FILE)})
    if isinstance(task.contract.json_schema, str):
        schema = _copied(task.contract.json_schema, run.folder / SCHEMA_FILE)
        task = task.model_copy(update={"contract": task.contract.model_copy(update={"json_schema": schema})})
    return settings.model_copy(update={"task": task, "judge": judge})


def _copied(name: str, copy: Path) -> str:
    """The copy's path in the run, which may be moved; the file's own where it cannot be read, as the worker says."""
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return name
    jsonl.replace(copy, text, 0o600)
    return copy.name


def start(run: Run, yes: bool) -> int:
    """Start a run's worker in a session of its own and wait for its first event; returns its pid.

    Raises InputError for a run that has ended, LlamaDuoError with the last log line of a worker that ends before that.
    """
    check_mine(run)
    may_start(run, run.status().state)
    reader = EventReader(run.events_file, from_end=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would be waited for
    with os.fdopen(os.open(run.log_file, flags, 0o600), "ab") as log:
        worker = subprocess.Popen(
            worker_command(run, yes), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )
    try:
        while True:
            ended = worker.poll() is not None
            if reader.read_new():
                return worker.pid
            if ended:
                failed = LlamaDuoError(
                    f"the worker of {run.name} could not start: {last_line(run) or f'exit status {worker.returncode}'}",
                    f"full log: {run.log_file}",
                )
                failed.exit_status = worker.returncode
                raise failed
            time.sleep(POLL_S)
    except KeyboardInterrupt:  # it has done nothing yet that is worth keeping
        worker.terminate()
        worker.wait()
        raise


def worker_command(run: Run, yes: bool) -> list[str]:
    """The command line of a run's worker."""
    return isolation.module("engine.worker", str(run.folder), *(["--yes"] if yes else []))
