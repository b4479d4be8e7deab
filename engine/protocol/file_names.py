"""Names of files as a run's records give them: paths in a folder, which never lead out of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePosixPath

LONGEST = 255
"""Bytes of a name on the file systems that we know."""


def is_inner(name: str) -> bool:
    """Whether a path names a file below the folder that it is relative to, one that a file system may have."""
    try:
        parts = [os.fsencode(part) for part in PurePosixPath(name).parts]
    except ValueError:
        return False
    outside = name.startswith("/") or b".." in parts
    return bool(parts) and not outside and all(len(part) <= LONGEST and b"\0" not in part for part in parts)


def check_inner(names: Iterable[str]) -> None:
    """Raise ValueError where a name leads out of its folder, or cannot be that of a file."""
    strange = next((name for name in names if not is_inner(name)), None)
    if strange is not None:
        raise ValueError(f"not a file in its folder: {strange[:80]!r}")
