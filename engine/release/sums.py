"""SHA256SUMS of an artefact's folder, as `sha256sum --check` reads it: written last, checked before it is served."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.release.artefact import ARTEFACT_FILE, SUMS_FILE

LINE = re.compile(r"([0-9a-f]{64})  (.+)")

EDITED = frozenset({ARTEFACT_FILE, "README.md"})
"""Files that people may write in: where the base of an adapter lies on this machine, and the card."""

HINT = "copy the folder again from where it was released, or release it again"


def write_sums(folder: Path, files: Iterable[Path] | None = None) -> None:
    """Write the sums of these files of a folder, or of all below it but its own; names are relative to it."""
    own = folder / SUMS_FILE
    listed = sorted((path for path in folder.rglob("*") if path.is_file() and path != own) if files is None else files)
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in listed]
    jsonl.replace(folder / SUMS_FILE, "".join(lines))


def check_sums(folder: Path) -> None:
    """Raise InputError unless a folder holds the files of its sums as they were written, no others, and no links.

    A server reads what lies in the folder: a file more, such as weights in another format or code, is as bad as a
    changed one.
    """
    try:
        listed = (folder / SUMS_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{folder}: {SUMS_FILE} is missing or cannot be read", HINT) from None
    sums = {match[2]: match[1] for line in listed if (match := LINE.fullmatch(line))}
    if len(sums) != len(listed) or not sums:
        raise InputError(f"{folder}: {SUMS_FILE} is damaged", HINT)
    found = set[str]()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise InputError(f"{folder}: {name} is a link", HINT)
        if path.is_dir() or name == SUMS_FILE:
            continue
        if name not in sums:
            raise InputError(f"{folder}: {name} is not a file of the release", f"move it away: {path}")
        found.add(name)
        if not path.is_file() or (name not in EDITED and _sha256(path) != sums[name]):
            raise InputError(f"{folder}: {name} is not as it was released", HINT)
    if missing := sorted(sums.keys() - found):
        raise InputError(f"{folder}: {missing[0]} is missing", HINT)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
