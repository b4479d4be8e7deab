"""What is below a folder, and its removal: neither needs a stack, however deep somebody nested it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from engine.protocol.errors import InputError

LONGEST = 1000
"""Bytes of a path below a folder: a system opens four times as many, and `shutil` ends at as many folders."""


def below(folder: Path, *, ends: str = "") -> list[Path]:
    """The files and folders below a folder, sorted. Links are not followed, nor folders that this user may not open.

    Of a folder in it that has a file of the name `ends`, that file alone. Raises InputError where they are nested
    deeper than any of a run.
    """
    found, left = list[Path](), [folder]
    while left:
        inside = left.pop()
        if is_too_deep(inside, folder):
            first = folder.joinpath(*inside.relative_to(folder).parts[:3])
            raise InputError(f"{first}: folders are nested too deep in it", "move away what does not belong there")
        entries = list(_entries(inside))
        if ends and inside != folder and (inside / ends, False) in entries:
            entries = [(inside / ends, False)]
        found += [path for path, _ in entries]
        left += [path for path, is_folder in entries if is_folder]
    return sorted(found)


def remove(folder: Path) -> None:
    """Delete a folder with all that is in it; links are not followed. Raises OSError where a file cannot be deleted."""
    left = [folder]
    while left:
        for path, is_folder in _entries(left.pop()):
            if is_folder and is_too_deep(path, folder):
                path = path.rename(tempfile.mkdtemp(prefix=".deep-", dir=folder))
            left += [path] if is_folder else []
    shutil.rmtree(folder)


def is_too_deep(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is longer than any that people or this program make."""
    return len(os.fsencode(path)) - len(os.fsencode(folder)) > LONGEST


def _entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """What is in a folder, each with whether it is a folder."""
    with suppress(PermissionError, FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            yield Path(entry), entry.is_dir(follow_symlinks=False)
