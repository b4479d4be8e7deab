"""The run directory: where everything of a run lies, who works on it, and which stages are complete."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from engine.protocol import jsonl, records
from engine.protocol.errors import DamagedError, InputError, LlamaDuoError

STATES = ("new", "running", "waiting", "paused", "reached", "stopped", "failed")
STALE_AFTER_S = 30.0
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "litellm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that can be told from a later one with the same pid, on this host."""

    pid: int
    started: float
    host: str

    @classmethod
    def of(cls, pid: int) -> Process:
        import psutil  # it takes longer to import than a list of runs to read

        return cls(pid=pid, started=psutil.Process(pid).create_time(), host=socket.gethostname())

    @property
    def here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it still runs; a process of another host counts as alive, nobody here can tell."""
        if not self.here:
            return True
        import psutil

        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """status.json: what a reader needs without reading the events; a run that waits does so for approval or budget.

    `silent_since`, in seconds since the epoch, is when a service that does not answer had its first fault.
    """

    state: str = "new"
    process: Process | None = None
    child: Process | None = None
    heartbeat: float = 0.0
    round: int | None = None
    stage: str | None = None
    waits_for: str = ""
    calls: int = 0
    cached_calls: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    worked_s: float = 0.0
    silent_since: float | None = None

    @property
    def working(self) -> bool:
        return self.state in ("running", "waiting", "paused")

    def seen(self, now: float) -> str:
        """The state for a reader, who also tells `crashed` (the pid is gone) and `stale` (no heartbeat)."""
        if not self.working or self.process is None:
            return self.state
        if not self.process.alive:
            return "crashed"
        return "stale" if now - self.heartbeat > STALE_AFTER_S else self.state


@dataclass(frozen=True, slots=True)
class Run:
    """One run's folder, by its paths."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def settings_file(self) -> Path:
        return self.folder / "migration.toml"

    @property
    def status_file(self) -> Path:
        return self.folder / "status.json"

    @property
    def events_file(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def commands_file(self) -> Path:
        return self.folder / "commands.jsonl"

    @property
    def log_file(self) -> Path:
        return self.folder / "worker.log"

    @property
    def model_file(self) -> Path:
        return self.folder / "model.json"

    @property
    def ledger_file(self) -> Path:
        return self.folder / "ledger.sqlite"

    @property
    def coverage(self) -> Path:
        return self.folder / "coverage"

    @property
    def teacher(self) -> Path:
        return self.folder / "teacher"

    @property
    def final(self) -> Path:
        return self.folder / "final"

    @property
    def report_file(self) -> Path:
        return self.final / "report.md"

    def round(self, number: int) -> Path:
        return self.folder / f"round-{number:02d}"

    def decision_file(self, number: int) -> Path:
        return self.round(number) / "decision.json"

    def status(self) -> Status:
        """The status as last written; raises DamagedError where it is none."""
        with _undamaged(self.status_file):
            row = jsonl.read_json(self.status_file) or {}
            made = {key: records.build(Process, row[key]) for key in ("process", "child") if row.get(key)}
            status = records.build(Status, {**row, **made})
            if status.state not in STATES:
                raise ValueError("its state is unknown")
            return status

    def write_status(self, status: Status) -> None:
        jsonl.write_json(self.status_file, asdict(status), mode=0o600)

    def decisions(self) -> list[dict[str, Any]]:
        """The decisions so far, by round; raises DamagedError where one has no round or no scores."""
        rows = []
        for path in self.folder.glob("round-*/decision.json"):
            with _undamaged(path):
                rows.append(_decision(jsonl.read_json(path)))
        return sorted(rows, key=lambda row: int(row["round"]))


def create(root: Path, name: str, settings_text: str) -> Run:
    """A new run directory with its frozen settings; a name in use gets a number behind it.

    Raises InputError for a name that is no plain file name, or a folder that cannot be made.
    """
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise InputError(f"{name!r} is no name for a run", "use letters, digits, '-', '_' and '.'")
    for number in range(1, 1000):
        run = Run(root / (name if number == 1 else f"{name}-{number}"))
        try:
            run.folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"{run.folder}: cannot be made: {error.strerror}", "choose --runs-dir") from None
        with _explained(run.folder):
            run.write_status(Status())
            jsonl.replace(run.settings_file, settings_text)
        return run
    raise InputError(f"there are 999 runs named {name!r}", "choose another with --name")


def find(root: Path, name: str) -> Run:
    """The run of this name, or InputError that says which there are."""
    runs = all_runs(root)
    for run in runs:
        if run.name == name:
            return run
    known = ", ".join(run.name for run in runs[:5])
    raise InputError(f"no run {name!r} in {root}", f"there are: {known}" if known else "start one: llamaduo-tui demo")


def all_runs(root: Path) -> list[Run]:
    """The runs, newest first."""
    runs = [Run(path.parent) for path in root.glob("*/migration.toml")]
    return sorted(runs, key=lambda run: run.settings_file.stat().st_mtime, reverse=True)


@contextmanager
def lock(run: Run) -> Iterator[None]:
    """Be the one worker of a run; raises LlamaDuoError where another one is at work.

    The kernel frees the lock with the process; the status tells the readers and other hosts who holds it.
    """
    with _explained(run.folder):
        file = (run.folder / "lock").open("a")
    with file:
        locked = _try_lock(file)
        holder = run.status()
        if not locked or _works_elsewhere(holder):
            pid = holder.process.pid if holder.process else "unknown"
            raise LlamaDuoError(
                f"{run.name} is already being worked on (pid {pid})", f"follow it: llamaduo-tui logs {run.name} -f"
            )
        _end_orphan(holder.child)
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _works_elsewhere(holder: Status) -> bool:
    process = holder.process
    if not holder.working or process is None or (process.here and process.pid == os.getpid()):
        return False
    return process.alive and time.time() - holder.heartbeat < STALE_AFTER_S


def _end_orphan(child: Process | None) -> None:
    """A stage whose worker was killed must not write beside its successor."""
    if child is not None and child.here and child.alive:
        import psutil

        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(child.pid)
            process.kill()
            psutil.wait_procs([process], timeout=10)


def _decision(row: dict[str, Any] | None) -> dict[str, Any]:
    """A decision as readers take it for granted."""
    if row is None or not isinstance(row.get("round"), int) or not isinstance(row.get("reason"), str):
        raise ValueError("no decision")
    for score in ("precision", "similarity"):
        if not isinstance(row.get(score), dict) or not isinstance(row[score].get("mean"), float | int):
            raise ValueError(f"no {score}")
    return row


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except DamagedError:
        raise
    except ValueError as error:
        raise DamagedError(path, str(error)) from None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LlamaDuoError(
            f"{path}: cannot be written: {error.strerror}", "free some space, or use --runs-dir"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """manifest.json, the last file of a stage's folder: the folder is complete and is never redone."""

    stage: str
    inputs: dict[str, str]
    settings: str
    seed: int
    counts: dict[str, Any]
    seconds: float
    cost_usd: float = 0.0
    peak_memory_bytes: int = 0
    model: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    finished: float = 0.0


def manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder, None while it isn't complete."""
    path = folder / "manifest.json"
    row = jsonl.read_json(path)
    with _undamaged(path):
        return None if row is None else records.build(Manifest, row)


def begin(folder: Path, settings: str) -> None:
    """Start or go on with a stage's folder; what was begun under other settings is taken away first."""
    mark = folder / "settings"
    if folder.exists() and (not mark.exists() or mark.read_text() != settings):
        shutil.rmtree(folder)
    jsonl.replace(mark, settings)


def finish(folder: Path, complete: Manifest) -> Manifest:
    """Make a stage's folder complete, with the versions that made it."""
    complete = replace(complete, versions=_versions(), finished=round(time.time(), 3))
    jsonl.write_json(folder / "manifest.json", asdict(complete))
    return complete


def file_hash(path: Path) -> str:
    """16 hex digits of a file's SHA-256."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _versions() -> dict[str, str]:
    import importlib.metadata

    found = {}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
