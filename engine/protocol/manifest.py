"""manifest.json, the last file of a stage's folder: it is complete, and these are its files.

The manifest has the checksum of each file that the stage wrote, and of each that it read. A stage within another, as in
teacher/, stands in the outer manifest by its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from engine.protocol import checksums, jsonl, plain_file, records, tree
from engine.protocol.checksums import FileSum, difference, file_sum, files_of
from engine.protocol.counts import check_counts
from engine.protocol.errors import DamagedError, StageError, damaged_as
from engine.protocol.file_names import check_inner
from engine.protocol.records import Counted, Seconds, Usd

NAME = "manifest.json"

UNVOUCHED = ("settings",)
"""Files that name the settings under which a stage was begun; they are of no use once it is complete."""

LOGS = (".log", ".log.1")
"""Ends of names of logs: nothing is made from them, and they are cut when they are too long."""

LIBRARIES = (
    "llamaduo-tui",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "bitsandbytes",
    "litellm",
)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage made: from which inputs and settings, with which versions, and what it took.

    `inputs` maps the path of a file in the run, or another name, to its SHA-256; versions before format 3 kept the
    first 16 hex digits. `outputs` are the files that it wrote, by their path in its folder; None before format 3.
    """

    stage: str
    inputs: dict[str, str]
    settings: str
    seed: int
    counts: dict[str, Any]
    seconds: Seconds
    cost_usd: Usd = 0.0
    peak_memory_bytes: Counted = 0
    model: str = ""
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    finished: Seconds = 0.0
    outputs: dict[str, FileSum] | None = None

    def __post_init__(self) -> None:
        check_inner(self.outputs or ())
        check_counts(self.counts)

    def count(self, name: str) -> int:
        """What was counted under a name; 0 for nothing."""
        return int(self.counts.get(name) or 0)


class Change(NamedTuple):
    """A file that is not as its stage wrote it, and how it differs, in words that follow its path."""

    path: Path
    how: str


def manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder, None while it isn't complete. Raises DamagedError where it can't be read."""
    path = folder / NAME
    if (row := jsonl.read_json(path)) is None:
        return None
    row, has_own = checksums.verified(path, row)
    with damaged_as(path):
        known = records.build(Manifest, row)
    if has_own is (known.outputs is None):
        raise DamagedError(path, "its list of files or its checksum is gone")
    return known


def is_complete(folder: Path) -> bool:
    """Whether a stage's folder has a manifest; `changes` says whether it is still what the manifest says."""
    return (folder / NAME).exists()


def begin(folder: Path, settings: str) -> None:
    """Start or go on with a stage's folder; one that was begun under other settings is removed first."""
    mark = folder / "settings"
    if folder.exists() and (not mark.exists() or plain_file.read_text(mark) != settings):
        tree.remove(folder)
    jsonl.replace(mark, settings)


def finish(folder: Path, complete: Manifest) -> Manifest:
    """Make a stage's folder complete, with the versions that made it and the checksums of its files.

    The disk keeps the files before there is a manifest that says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [path for path in files_of(folder, ends=NAME) if _vouched(path.relative_to(folder))]
    checksums.flush([*written, *{path.parent for path in written}, folder])
    outputs = {path.relative_to(folder).as_posix(): file_sum(path) for path in written}
    complete = replace(complete, versions=_versions(), finished=round(time.time(), 3), outputs=outputs)
    checksums.write_json(folder / NAME, records.to_row(complete))
    checksums.flush(folder.parents[:2])
    return complete


def _vouched(path: Path) -> bool:
    """Whether a file is part of what a stage made, by its path in the folder."""
    return path.as_posix() not in (NAME, *UNVOUCHED) and not path.name.startswith(".") and not path.name.endswith(LOGS)


def changes(folder: Path, known: Manifest) -> Iterator[Change]:
    """The files of a complete folder that are not as its stage wrote them, with those of the stages within it.

    None for a manifest of an earlier format, which has no checksums: nobody can tell.
    """
    for name, was in (known.outputs or {}).items():
        path = folder / name
        if how := difference(path, was):
            yield Change(path, how)
        elif path.name == NAME:
            try:
                within = manifest(path.parent)
            except DamagedError as error:
                yield Change(path, error.problem)
            else:
                yield from changes(path.parent, within) if within is not None else ()


def added(folder: Path, known: Manifest) -> Iterator[Path]:
    """The files in a complete folder that its stage did not write; none for a manifest of an earlier format."""
    if known.outputs is None:
        return
    for path in files_of(folder, ends=NAME):
        name = path.relative_to(folder)
        if name.as_posix() not in known.outputs and _vouched(name):
            yield path


def unchanged(folder: Path, *, readable: bool = False) -> None:
    """Raise StageError where a complete folder's files are not as its stage wrote them, so that nobody uses them.

    With `readable`, those that this user may not read are left out.
    """
    known = manifest(folder)
    for change in changes(folder, known) if known is not None else ():
        if readable and change.path.exists() and not os.access(change.path, os.R_OK):
            continue
        raise StageError(
            f"{change.path} {change.how}: it is not as its stage wrote it",
            "restore it from a copy; or resume, which makes it again",
        )


def file_hash(path: Path) -> str:
    """16 hex digits of a file's SHA-256."""
    return file_sum(path).sha256[:16]


def _versions() -> dict[str, str]:
    import importlib.metadata

    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
