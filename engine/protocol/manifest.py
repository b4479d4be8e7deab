"""manifest.json, the last file of a stage's folder: the folder is complete and is never redone."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.protocol import jsonl, records
from engine.protocol.errors import damaged_as

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a stage made: from which inputs and settings, with which versions, and what it took."""

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
    """The manifest of a stage's folder, None while it isn't complete. Raises DamagedError where it can't be read."""
    path = folder / "manifest.json"
    row = jsonl.read_json(path)
    with damaged_as(path):
        return None if row is None else records.build(Manifest, row)


def begin(folder: Path, settings: str) -> None:
    """Start or go on with a stage's folder; one that was begun under other settings is removed first."""
    mark = folder / "settings"
    if folder.exists() and (not mark.exists() or mark.read_text() != settings):
        shutil.rmtree(folder)
    jsonl.replace(mark, settings)


def finish(folder: Path, complete: Manifest) -> Manifest:
    """Make a stage's folder complete, with the versions that made it."""
    complete = replace(complete, versions=_versions(), finished=round(time.time(), 3))
    jsonl.write_json(folder / "manifest.json", records.to_row(complete))
    return complete


def file_hash(path: Path) -> str:
    """16 hex digits of a file's SHA-256."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _versions() -> dict[str, str]:
    import importlib.metadata

    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
