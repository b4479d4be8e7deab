"""Which files a complete stage has used, and whether they are still the same."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from engine.protocol.checksums import file_sum
from engine.protocol.file_names import is_inner
from engine.protocol.manifest import Change, Manifest
from engine.protocol.run_dir import Run

WHOLE, OLDER = 64, 16
"""Hex digits that are kept of a checksum, now and before format 3."""


def changed_inputs(run: Run, folder: Path, known: Manifest, but: Container[str] = ()) -> Iterator[Change]:
    """The files of a run that are no longer those which the stage in a folder has used.

    What the run has no copy of, such as the coverage source, may change freely. Files named in `but`, by their path in
    the run, are not read.
    """
    for name, given in known.inputs.items():
        if name in but:
            continue
        path = _place(run, folder, name, older=known.outputs is None)
        if path is not None and (how := _difference(path, given, digits=OLDER if known.outputs is None else WHOLE)):
            yield Change(path, how)


def sources_changed(run: Run, sources: Mapping[str, str]) -> Iterator[Change]:
    """Those of some files, given as path in the run and SHA-256, that are not the same any more."""
    for name, given in sources.items():
        if how := _difference(run.folder / name, given):
            yield Change(run.folder / name, how)


def _place(run: Run, folder: Path, name: str, *, older: bool) -> Path | None:
    """The file that an input names; None for one outside of the run, or for something else than a file.

    Before format 3 some stages named a file by its path below the folder of their round, or below their own.
    """
    if not is_inner(name) or ("." not in name and "/" not in name):
        return None
    if not older:
        return run.folder / name
    places = [run.folder / name, folder / name, folder.parent / name] if "/" in name else []
    return next((place for place in places if place.is_file()), None)


def _difference(path: Path, given: str, digits: int = WHOLE) -> str:
    """How a file differs from what was used; part of a checksum is enough for as many digits as were kept of it."""
    try:
        return "" if file_sum(path).sha256[:digits] == given else "has changed"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
