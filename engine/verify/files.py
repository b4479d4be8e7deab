"""Which files of a run are not as they were written: by its record, and by the manifests of its stages."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from engine.dataset.prepare import TEST
from engine.protocol import checksums, jsonl, plain_file, records
from engine.protocol.checksums import BLOCK, FileSum, difference, file_sum
from engine.protocol.errors import DamagedError, damaged_as
from engine.protocol.inputs import changed_inputs, sources_changed
from engine.protocol.ledger_sum import LedgerSum, calls_in, ledger_sum
from engine.protocol.manifest import NAME, Manifest, added, changes, manifest
from engine.protocol.run_dir import Run
from engine.protocol.run_record import GROWING, RunRecord, read_record, record_file, recorded
from engine.protocol.stages import STAGES
from engine.protocol.status import Status
from engine.protocol.tree import below
from engine.verify.checks import Problem

STAGE_NAMES = tuple(stage.name for stage in STAGES)
DENIED = f"cannot be read: {os.strerror(errno.EACCES)}"
LINK = "is a link; its target is not part of the run"


@dataclass(slots=True)
class Files:
    """What the files of a run say of themselves.

    `wrong` maps a path to what is wrong with it; `older` are folders of stages without checksums, `added` are files
    that came after the end, `grown` those that people, libraries or a release have added to since, `rewritten` those
    with the same content in other bytes, `private` those that this user may not read.
    """

    status: Status | None = None
    record: RunRecord | None = None
    manifests: dict[str, Manifest] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    older: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    private: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        return [Problem(file=file, what=what) for file, what in sorted(self.wrong.items())]

    def sound(self, *files: str) -> bool:
        """Whether nothing is wrong with these files, and this user may read them."""
        return not any(file in self.wrong or file in self.private for file in files)

    def add(self, file: str, what: str) -> None:
        """Note what is wrong with a file; the first word on it stays."""
        if what == DENIED:
            self.private.append(file)
        else:
            self.wrong.setdefault(file, what)


def look(run: Run) -> Files:
    """Read all checksums of a run and compare its files with them.

    Raises PermissionError where this user may not even read those.
    """
    files = Files()
    _read_status(run, files)
    _compare_with_record(run, files)
    for folder in sorted(path.parent for path in below(run.folder) if path.name == NAME):
        _compare_with_manifest(run, folder, files)
    _compare_decisions(run, files)
    return files


def _read_status(run: Run, files: Files) -> None:
    try:
        row = jsonl.read_json(run.status_file)
        if row is None:
            files.add("status.json", "is missing")
            return
        with damaged_as(run.status_file):
            files.status = records.build(Status, row)
        if files.status.state.ended and checksums.OWN in row:
            checksums.verified(run.status_file, row)
        elif files.status.state.ended and files.status.record:
            files.add("status.json", "has lost its checksum")
    except DamagedError as error:
        files.status = None
        files.add("status.json", f"is damaged: {error.problem}")


def _compare_with_record(run: Run, files: Files) -> None:
    path = record_file(run)
    try:
        record = read_record(run)
    except DamagedError as error:
        files.add(path.name, f"is damaged: {error.problem}")
        return
    status = files.status if "status.json" not in files.wrong else None
    if record is None:
        if status is not None and status.record:
            files.add(path.name, "is missing")
        return
    if status is not None and not status.state.ended:
        if status.process is None or status.heartbeat <= record.ended:
            files.add("status.json", "is older than the run's record")
    elif status is not None and status.record != file_sum(path).sha256:
        files.add(path.name, "is not the record that the status names")
        return
    files.record = record
    for name, known in record.files.items():
        if _is_link(run, name):
            how = LINK
        elif name in GROWING:
            how = _grown(run.folder / name, known, files)
        elif name == run.ledger_file.name:
            how = _paid_more(run.ledger_file, known, record.ledger, files)
        else:
            how = difference(run.folder / name, known)
        if how:
            files.add(name, how)
    for name in sorted(name for name, _ in recorded(run) if name not in record.files):
        if _is_made(name):
            files.add(name, "was added after the end of the run")
        else:
            files.added.append(name)


def _is_made(name: str) -> bool:
    """Whether a file of this name lies where only stages and decisions write."""
    top, inside, _ = name.partition("/")
    return bool(inside) and (top in (*STAGE_NAMES, "final") or top.startswith("round-"))


def _is_link(run: Run, name: str) -> bool:
    """Whether a file of the run is a link, or lies behind one: what it leads to is no part of the run."""
    own = Path(os.path.realpath(run.folder))  # `resolve` raises for a circle of links
    return Path(os.path.realpath(own / name)) != own / name


def _grown(path: Path, known: FileSum, files: Files) -> str:
    """How a file that may grow differs in what it had at the end."""
    try:
        size = path.stat().st_size
    except OSError:
        return "is missing"
    if size <= known.bytes:
        return difference(path, known)
    digest, left = hashlib.sha256(), known.bytes
    with plain_file.open_file(path) as file:
        while left and (block := file.read(min(BLOCK, left))):
            digest.update(block)
            left -= len(block)
    if digest.hexdigest() != known.sha256:
        return "has other content than at the end of the run"
    if known.bytes and _repeats(path, known.bytes):
        return "has its own lines twice"
    files.grown.append(path.name)
    return ""


def _paid_more(path: Path, known: FileSum, had: LedgerSum | None, files: Files) -> str:
    """How a ledger differs from that at the end, unless SQLite has written it since, and it has the same calls first.

    One with the old number of writes was changed by something else; a copy that SQLite made counts them anew.
    """
    how = difference(path, known)
    if not how or had is None:
        return how
    try:
        now, calls = ledger_sum(path, had.calls), calls_in(path)
    except (sqlite3.Error, OSError):
        return how
    if now.writes in (0, had.writes) or replace(now, writes=had.writes) != had:
        return how
    (files.grown if calls > had.calls else files.rewritten).append(path.name)
    return ""


def _repeats(path: Path, start: int) -> bool:
    """Whether what was appended begins like the file itself: a copy went wrong, and nobody wrote that."""
    with plain_file.open_file(path) as file:
        first = file.readline(plain_file.MOST_LINE_BYTES)
        file.seek(start)
        return file.readline(plain_file.MOST_LINE_BYTES) == first


def _compare_with_manifest(run: Run, folder: Path, files: Files) -> None:
    name = folder.relative_to(run.folder).as_posix()
    own = f"{name}/{NAME}"
    try:
        known = manifest(folder)
    except DamagedError as error:
        files.add(own, f"is damaged: {error.problem}")
        return
    if known is None or own in files.wrong:
        return
    files.manifests[name] = known
    if known.outputs is None:
        files.older.append(name)
    for change in (*changes(folder, known), *changed_inputs(run, folder, known, files.wrong)):
        files.add(change.path.relative_to(run.folder).as_posix(), _since(change.how, name))
    for output in known.outputs or ():
        if _is_link(run, f"{name}/{output}"):
            files.add(f"{name}/{output}", LINK)
    for path in added(folder, known):
        if path != run.coverage / TEST:  # it is written when the seal is opened, and compared with that
            files.add(path.relative_to(run.folder).as_posix(), f"is not a file that {name} wrote")


def _since(how: str, name: str) -> str:
    return f"{how} since {name} used it" if how == "has changed" else how


def _compare_decisions(run: Run, files: Files) -> None:
    """Decisions have checksums of their own, and name the verdicts that they were made from."""
    for path in sorted([*run.folder.glob("round-*/decision.json"), *run.folder.glob("final/*.json"), run.model_file]):
        if not path.is_file() or path.name == NAME:
            continue
        name = path.relative_to(run.folder).as_posix()
        try:
            checksums.read_json(path)
            sources = run.made_from(path) if path.name == "decision.json" else {}
        except DamagedError as error:
            files.add(name, f"is damaged: {error.problem}")
            continue
        right = {file: given for file, given in sources.items() if file not in files.wrong}
        for change in sources_changed(run, right) if name not in files.wrong else ():
            files.add(change.path.relative_to(run.folder).as_posix(), _since(change.how, name))


def stages(files: Files, kind: str) -> Iterator[str]:
    """The folders of complete stages of a kind, by path in the run; a stage within teacher/ counts, too."""
    return (name for name in sorted(files.manifests) if name.split("/")[-1] == kind)
