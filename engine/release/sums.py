"""SHA256SUMS of an artefact's folder: written last, checked before it is served."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.protocol import jsonl
from engine.protocol.checksums import file_sum
from engine.protocol.errors import DamagedError, InputError
from engine.protocol.sums import ADDED, CHANGED, SUMS_FILE, unlike
from engine.protocol.tree import below
from engine.release.artefact import ARTEFACT_FILE

EDITED = frozenset({ARTEFACT_FILE, "README.md"})
"""Files that people may write in: where the base of an adapter lies on this machine, and the card."""

HINT = "copy the folder again from where it was released, or release it again"


def write_sums(folder: Path, files: Iterable[Path] | None = None) -> None:
    """Write the sums of these files of a folder, or of all below it but its own; names are relative to it."""
    own = folder / SUMS_FILE
    listed = sorted((path for path in below(folder) if path.is_file() and path != own) if files is None else files)
    lines = [f"{file_sum(path).sha256}  {path.relative_to(folder).as_posix()}\n" for path in listed]
    jsonl.replace(folder / SUMS_FILE, "".join(lines))


def check_sums(folder: Path) -> None:
    """Raise InputError unless a folder holds the files of its sums as they were written, no others, and no links."""
    try:
        for name, what in unlike(folder):
            if what == ADDED:
                raise InputError(f"{folder}: {name} {what}", f"move it away: {folder / name}")
            if what != CHANGED:
                raise InputError(f"{folder}: {name} {what}", HINT)
            if name not in EDITED:
                raise InputError(f"{folder}: {name} is not as it was released", HINT)
    except DamagedError as error:
        raise InputError(f"{folder}: {SUMS_FILE} is {error.problem}", HINT) from None
