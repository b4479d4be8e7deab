"""SHA256SUMS of an artefact's folder, in the form that `sha256sum --check` reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.protocol import jsonl
from engine.release.artefact import SUMS_FILE


def write_sums(folder: Path) -> None:
    """Write the sums of all files below a folder but its own; names are relative to it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS_FILE)
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    jsonl.replace(folder / SUMS_FILE, "".join(lines))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
