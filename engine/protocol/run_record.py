"""record.json, written when a run ends: the checksum of every file, so that a later change of any can be told.

The status names the record by its hash, and record and status have a checksum of their own content: one that changed
is told from one that is right. It proves that nothing has changed since, for those who kept that hash; it does not
prove who wrote it, since whoever can write all files can write a record, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.protocol import checksums, records
from engine.protocol.checksums import FileSum, file_sum
from engine.protocol.errors import damaged_as
from engine.protocol.file_names import check_inner
from engine.protocol.ledger_sum import LedgerSum, ledger_sum
from engine.protocol.run_dir import Run
from engine.protocol.tree import below

GROWING = ("commands.jsonl", "worker.log")
"""Files that may grow after the end: reviews are welcome, and the last words of libraries come late."""

LATER = ("release", "releasing", "takeover", "review", "work")
"""Folders that later steps and libraries fill; a release has checksums of its own."""

OUTSIDE = ("record.json", "status.json", "lock")
"""Files that a record cannot hold."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a run by their path in it, as they were when it ended, and the calls of its ledger.

    `ended` is in seconds since the epoch; `ledger` is None where there is no ledger that can be read.
    """

    ended: float
    files: dict[str, FileSum] = msgspec.field(default_factory=dict)
    ledger: LedgerSum | None = None

    def __post_init__(self) -> None:
        check_inner(self.files)


def record_file(run: Run) -> Path:
    """Where the record of a run is."""
    return run.folder / "record.json"


def recorded(run: Run) -> Iterator[tuple[str, Path]]:
    """The files that a record has, by their path in the run, in order."""
    for path in below(run.folder):
        parts = path.relative_to(run.folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not hidden and parts[0] not in (*OUTSIDE, *LATER):
            yield "/".join(parts), path


def write_record(run: Run) -> str:
    """Write the record of a run that ends; returns its hash, which the status keeps.

    The disk has all files before it has the record.
    """
    files = dict(recorded(run))
    checksums.flush([*files.values(), *{path.parent for path in files.values()}])
    made = RunRecord(
        ended=round(time.time(), 3),
        files={name: file_sum(path) for name, path in files.items()},
        ledger=_ledger(run),
    )
    checksums.write_json(record_file(run), records.to_row(made))
    return file_sum(record_file(run)).sha256


def _ledger(run: Run) -> LedgerSum | None:
    import sqlite3

    try:
        return ledger_sum(run.ledger_file)
    except (sqlite3.Error, OSError):
        return None


def read_record(run: Run) -> RunRecord | None:
    """The record of a run, None where it has none. Raises DamagedError where it is not as it was written."""
    row = checksums.read_json(record_file(run))
    with damaged_as(record_file(run)):
        return None if row is None else records.build(RunRecord, row)
