"""Which files a complete stage has used, and whether they are still the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.protocol.checksums import file_sum
from engine.protocol.manifest import Change, Manifest
from engine.protocol.run_dir import Run


def changed_inputs(run: Run, folder: Path, known: Manifest) -> Iterator[Change]:
    """The files of a run that are no longer those which the stage in a folder has used.

    What the run has no copy of, such as the coverage source, may change freely.
    """
    for name, given in known.inputs.items():
        path = _place(run, folder, name, older=known.outputs is None)
        if path is not None and (how := _difference(path, given)):
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
    if Path(name).is_absolute() or ("." not in name and "/" not in name):
        return None
    if not older:
        return run.folder / name
    places = [run.folder / name, folder / name, folder.parent / name] if "/" in name else []
    return next((place for place in places if place.is_file()), None)


def _difference(path: Path, given: str) -> str:
    try:
        return "" if file_sum(path).sha256.startswith(given) else "has changed"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
