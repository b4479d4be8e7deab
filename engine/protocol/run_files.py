"""The files that a run consists of. Whatever else lies in its folder is somebody's own, and outlives the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from engine.protocol import tree
from engine.protocol.run_dir import Run
from engine.protocol.stages import STAGES

MARKS = ("format", "status.json", "migration.toml")
"""Say that the folder is a run: deleted last, so that one whose deletion was interrupted can be deleted again."""

_IN_RUN = (
    *MARKS,
    "events*.jsonl*",
    "commands*.jsonl*",
    "worker.log*",
    "model.json",
    "machine.jsonl*",
    "ledger.sqlite*",
    "lock",
    "record.json",
    "sandbox.json*",
    "estimate.json",
    "prompts.toml",
    "schema.json",
    ".reserve",
    ".cluster-*",
)
_IN_PHASE = ("decision.json", "target.json", "opened.json", "report.md", "manifest.json")
_IN_STAGE = (
    "manifest.json",
    "settings",
    "batches.json",
    "responses.jsonl*",
    "*.log",
    "*.log.1",
    "verdicts.jsonl*",
    "drift.jsonl",
    "pairs.jsonl*",
    "rejected.jsonl*",
    "metrics.jsonl*",
    "result.json",
    "events.out.tfevents.*",
    "train.jsonl",
    "dev.jsonl",
    "test.jsonl",
    "test.sealed",
    "dropped.jsonl",
    "fingerprints.jsonl",
    "volume.json",
)
_TEMPORARY = ".*.tmp"
_PHASES = ("round-[0-9]*", "final")
_STAGES = tuple(stage.name for stage in STAGES)
_WHOLE = ("work", "release", "releasing", "takeover", "review", "adapter", "checkpoints", "serve", "vllm", "*-batches")
"""Folders that are the run's with all that is in them."""


def foreign(run: Run) -> list[Path]:
    """The files and folders in a run's folder that neither the run nor its people's commands made, sorted."""
    return sorted(_foreign(run.folder, _IN_RUN, (*_PHASES, *_STAGES)))


def remove(run: Run) -> list[Path]:
    """Delete a run's own files and its empty folders, and give what is left: the foreign ones. Links are not followed.

    Raises OSError where a file cannot be deleted.
    """
    kept = foreign(run)
    if not kept:
        for path in sorted(run.folder.iterdir(), key=lambda path: path.name in MARKS):
            _remove(path)
        run.folder.rmdir()
        return []
    above = {parent for path in kept for parent in path.parents}
    _remove_but(run.folder, {*kept}, above)
    return kept


def _foreign(folder: Path, files: tuple[str, ...], folders: tuple[str, ...]) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry)
            if not entry.is_dir(follow_symlinks=False):
                if not _is_any(entry.name, (*files, _TEMPORARY)):
                    yield path
            elif _is_any(entry.name, _WHOLE):
                continue
            elif not _is_any(entry.name, folders):
                yield path
            elif _is_any(entry.name, _PHASES):
                yield from _foreign(path, _IN_PHASE, _STAGES)
            else:
                yield from _foreign(path, _IN_STAGE, _STAGES)


def _is_any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _remove_but(folder: Path, kept: set[Path], above: set[Path]) -> None:
    for path in sorted(folder.iterdir(), key=lambda path: path.name in MARKS):
        if path in above:
            _remove_but(path, kept, above)
        elif path not in kept:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        tree.remove(path)
    else:
        path.unlink()
