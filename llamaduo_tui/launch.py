"""Starting a worker that outlives the terminal."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from engine import jsonl, template
from engine import run as runs
from engine.config import Migration
from engine.errors import LlamaDuoError
from engine.events import EventReader
from engine.run import Run
from llamaduo_tui.follow import last_line

POLL_S = 0.05


def create(root: Path, name: str, settings: Migration, yes: bool) -> Run:
    """A new run directory with the settings frozen in it; `yes` approves every synthesis beforehand."""
    if yes:
        loop = settings.loop.model_copy(update={"approval": "auto"})
        settings = settings.model_copy(update={"loop": loop})
    run = runs.create(root, name, template.render(settings))
    if settings.judge.prompts:
        _freeze_prompts(run, settings)
    return run


def _freeze_prompts(run: Run, settings: Migration) -> None:
    """Copy the user's prompts into the run, so that changing them later changes no run."""
    try:
        text = Path(str(settings.judge.prompts)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return  # the worker's own check says what is wrong with it
    copy = run.folder / "prompts.toml"
    jsonl.replace(copy, text)
    judge = settings.judge.model_copy(update={"prompts": str(copy)})
    jsonl.replace(run.settings_file, template.render(settings.model_copy(update={"judge": judge})))


def start(run: Run, yes: bool) -> int:
    """Start a run's worker in a session of its own and wait for its first event; gives its pid.

    Raises LlamaDuoError with the worker's last words where it ended before it said anything.
    """
    reader = EventReader(run.events_file)
    reader.read_new()
    with run.log_file.open("ab") as log:
        worker = subprocess.Popen(
            worker_command(run, yes), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )
    while True:
        ended = worker.poll() is not None
        if reader.read_new():
            return worker.pid
        if ended:
            failed = LlamaDuoError(
                f"the worker of {run.name} could not start: {last_line(run) or f'exit status {worker.returncode}'}",
                f"its whole log: {run.log_file}",
            )
            failed.exit_status = worker.returncode
            raise failed
        time.sleep(POLL_S)


def worker_command(run: Run, yes: bool) -> list[str]:
    """The command line of a run's worker."""
    return [sys.executable, "-m", "engine", str(run.folder), *(["--yes"] if yes else [])]
