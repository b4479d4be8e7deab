"""The run directory: where every file of a run lies, and in which format they are written."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.protocol import checksums, file_lock, format_1, jsonl, plain_file, records
from engine.protocol.errors import DamagedError, FormatError, InputError, LlamaDuoError, damaged_as
from engine.protocol.file_names import check_inner
from engine.protocol.full_disk import full
from engine.protocol.status import State, Status

if TYPE_CHECKING:  # their classes take longer to make than a list of runs to read
    from engine.protocol.decision import Decision, FinalDecision
    from engine.protocol.estimate import RunEstimate

FORMAT = 3
"""How this version writes the files of a run; it reads earlier formats, too. Before 3 there were no checksums."""

MADE_FROM = "made_from"
"""The key in a decision's file for the files that it was made from."""


_NAME = re.compile(r"\w[\w.-]{0,99}")
_ROUND = re.compile(r"round-([0-9]{2}|[1-9][0-9]{2})")


class Run(msgspec.Struct, frozen=True):
    """One run's folder, by its paths."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def identity(self) -> str:
        """What names this run among those that opened sealed prompts; "" before it has opened its own.

        It is drawn at the opening: a copy of the folder from before that is another run, a renamed one is the same.
        """
        opened = checksums.read_json(self.opened_file)
        if opened is None:
            return ""
        if not isinstance(name := opened.get("run"), str):
            raise DamagedError(self.opened_file, "no name of the run")
        return name

    @property
    def settings_file(self) -> Path:
        return self.folder / "migration.toml"

    @property
    def format_file(self) -> Path:
        return self.folder / "format"

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
    def lock_file(self) -> Path:
        return self.folder / "lock"

    @property
    def work(self) -> Path:
        """The working folder of the run's processes: what libraries leave in theirs goes there."""
        return self.folder / "work"

    @property
    def estimate_file(self) -> Path:
        return self.folder / "estimate.json"

    @property
    def machine_file(self) -> Path:
        """The load of the worker's machine, from the start to the end."""
        return self.folder / "machine.jsonl"

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
    def release(self) -> Path:
        """The released model: complete in itself, works wherever it is copied."""
        return self.folder / "release"

    @property
    def releasing(self) -> Path:
        """What a release is made with: its log, the served answers and their verdicts."""
        return self.folder / "releasing"

    @property
    def release_lock(self) -> Path:
        """Held by a release while it is at work."""
        return self.releasing / "lock"

    @property
    def report_file(self) -> Path:
        return self.final / "report.md"

    @property
    def final_decision_file(self) -> Path:
        return self.final / "decision.json"

    @property
    def opened_file(self) -> Path:
        return self.final / "opened.json"

    @property
    def sealed_target_file(self) -> Path:
        return self.final / "target.json"

    def round(self, number: int) -> Path:
        return self.folder / f"round-{number:02d}"

    def decision_file(self, number: int) -> Path:
        return self.round(number) / "decision.json"

    @property
    def format(self) -> int:
        """The format of its files; format 1 has no file that says so.

        Raises FormatError for a format of a newer version, DamagedError where it is no number.
        """
        try:
            with damaged_as(self.format_file):
                number = int(plain_file.read_text(self.format_file))
        except FileNotFoundError:
            return 1
        if number > FORMAT:
            raise FormatError(
                f"{self.name} was written in format {number}, and this version reads formats up to {FORMAT}",
                "upgrade: pip install --upgrade llamaduo-tui",
            )
        return number

    def write_format(self) -> None:
        """Say that the files are from now on in this version's format."""
        jsonl.replace(self.format_file, f"{FORMAT}\n", self.state_mode)

    def status(self) -> Status:
        """The status as last written. Raises DamagedError where it can't be read, FormatError for a newer format."""
        number = self.format
        with damaged_as(self.status_file):
            row = jsonl.read_json(self.status_file) or {}
            if number == 1:
                row = format_1.status(row, (self.final / "manifest.json").exists())
            status = records.build(Status, row)
            if status.state in (State.STOPPING, State.STALE, State.CRASHED, State.UNREADABLE, State.PRIVATE):
                raise ValueError(f"invalid state {status.state}")
            return status

    def seen(self, status: Status, now: float | None = None) -> State:
        """The state that a status means for a reader at this time, by default now; see `Status.seen`."""
        return status.seen(time.time() if now is None else now, lambda: file_lock.is_held(self.lock_file))

    def state(self) -> State:
        """The state for a reader now. Raises as `status` does."""
        return self.seen(self.status())

    @property
    def is_run(self) -> bool:
        """Whether `create` made this folder: its format, or in older ones its status, is that of a run.

        A folder that has no more than a migration.toml may be anybody's project.
        """
        try:
            return plain_file.read_text(self.format_file).strip().isdecimal()
        except FileNotFoundError:
            return self.status_file.is_file()
        except (OSError, ValueError):
            return False

    def check_is_there(self) -> None:
        """Raise InputError where its folder is gone: without it, it would look like a run that is about to start."""
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is gone: moved or deleted", "list runs: llamaduo-tui runs")

    def check_is_run(self) -> None:
        """Raise InputError where the folder is there and `create` didn't make it."""
        if self.folder.is_dir() and not self.is_run:
            raise InputError(f"{self.folder}: not a run: it has no file `format`", "list runs: llamaduo-tui runs")

    def make_folder(self, folder: Path) -> None:
        """Make a folder in the run; never the run's own, which somebody may just have moved or removed."""
        levels = [folder, *folder.parents]
        for one in reversed(levels[: levels.index(self.folder)]):
            one.mkdir(exist_ok=True)
            if one.parent == self.folder:
                inherited = one.stat().st_mode & stat.S_ISGID  # what is made in it belongs to a shared folder's group
                one.chmod(0o700 | inherited | self.folder.stat().st_mode & 0o050)

    def write_status(self, status: Status) -> None:
        write = checksums.write_json if status.state.ended else jsonl.write_json  # a heartbeat is soon replaced
        write(self.status_file, records.to_row(status), self.state_mode)

    @property
    def state_mode(self) -> int:
        """The mode of files that show the state: whoever may open the run's folder may read them."""
        return 0o600 | self.folder.stat().st_mode & 0o040

    def decision(self, number: int) -> Decision | None:
        """The decision after a round, None before there is one. Raises DamagedError where it can't be read."""
        from engine.protocol.decision import Decision

        path = self.decision_file(number)
        row = checksums.read_json(path)
        with damaged_as(path):
            return None if row is None else records.build(Decision, row)

    def estimate(self) -> RunEstimate | None:
        """What the run was expected to take when it began; None where nobody estimated it, or it can't be read."""
        from engine.protocol.estimate import RunEstimate

        try:
            row = jsonl.read_json(self.estimate_file)
            return None if row is None else records.build(RunEstimate, row)
        except (ValueError, DamagedError):
            return None

    def final_decision(self) -> FinalDecision | None:
        """What the sealed prompts decided, None before they did. Raises DamagedError where it can't be read."""
        from engine.protocol.decision import FinalDecision

        path = self.final_decision_file
        row = checksums.read_json(path)
        with damaged_as(path):
            return None if row is None else records.build(FinalDecision, row)

    def made_from(self, decision_file: Path) -> dict[str, str]:
        """The files that a decision was made from: paths in the run, with their SHA-256; {} before format 3."""
        sources = (checksums.read_json(decision_file) or {}).get(MADE_FROM, {})
        if not isinstance(sources, dict) or not all(isinstance(value, str) for value in sources.values()):
            raise DamagedError(decision_file, f"{MADE_FROM} is not a table of checksums")
        with damaged_as(decision_file):
            check_inner(sources)
        return sources

    def decisions(self) -> list[Decision]:
        """The decisions so far, by round. Raises DamagedError where one can't be read."""
        found = (self.decision(number) for number in self.rounds())
        return [decision for decision in found if decision is not None]

    def rounds(self) -> list[int]:
        """The rounds that have a decision, in order; a folder of another name than a round's is none."""
        found = (round_of(path.parent) for path in self.folder.glob("round-*/decision.json"))
        return sorted(number for number in found if number is not None)


def round_of(folder: Path) -> int | None:
    """The number of a round by the name of its folder; None for any other folder."""
    known = _ROUND.fullmatch(folder.name)
    return int(known[1]) if known else None


def create(root: Path, name: str, settings_text: str) -> Run:
    """A new run directory with its frozen settings, for its owner alone; a name in use gets a number behind it.

    Raises InputError for a name that is no plain file name, or a folder that cannot be made.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"invalid run name {name!r}", "use letters, digits, '-', '_' and '.'")
    for number in range(1, 1000):
        run = Run(root / (name if number == 1 else f"{name}-{number}"))
        try:
            root.mkdir(parents=True, exist_ok=True)
            try:
                run.folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
        except OSError as error:
            raise InputError(f"{run.folder}: cannot be created: {error.strerror}", "choose --runs-dir") from None
        with made_whole(run.folder):
            run.write_format()
            run.write_status(Status())
            jsonl.replace(run.settings_file, settings_text, 0o600)
        return run
    raise InputError(f"there are 999 runs named {name!r}", "choose another with --name")


def find(root: Path, name: str) -> Run:
    """The run of this name. Raises InputError, which lists the runs that there are."""
    runs = all_runs(root)
    for run in runs:
        if run.name == name:
            return run
    known = ", ".join(run.name for run in runs[:5])
    raise InputError(f"no run {name!r} in {root}", f"there are: {known}" if known else "start one: llamaduo-tui demo")


def all_runs(root: Path) -> list[Run]:
    """The runs, newest first; folders of other users that nobody else may open are among them."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(root) as entries:
        for entry in entries:
            run = Run(Path(entry))
            try:
                made = run.settings_file.stat().st_mtime
                if run.is_run:
                    found.append((made, run))
            except PermissionError:
                with suppress(OSError):
                    theirs = entry.stat().st_uid != os.geteuid() and _NAME.fullmatch(entry.name)
                    found += [(entry.stat().st_mtime, run)] if theirs else []
            except OSError:
                continue
    return [run for _, run in sorted(found, key=lambda each: each[0], reverse=True)]


@contextmanager
def made_whole(folder: Path) -> Iterator[None]:
    """Make a new run's folder, which is removed where that fails: half a run is none, but would keep its name."""
    try:
        with writable(folder):
            yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn an OSError into a LlamaDuoError that names the folder and what to do."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such run", "list them: llamaduo-tui runs") from None
    except PermissionError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", "ask its owner, or use --runs-dir") from None
    except OSError as error:
        if (used_up := full(error)) is not None:
            what = used_up.what if error.filename else f"{path}: {used_up.what}"
            raise LlamaDuoError(what, f"{used_up.hint}; or use --runs-dir") from None
        raise LlamaDuoError(f"{path}: cannot be written: {error.strerror}", "choose --runs-dir") from None
