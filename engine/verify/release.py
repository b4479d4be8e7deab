"""Whether a release's files are those that it was made of, by the list of checksums in each of its folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.protocol.errors import DamagedError
from engine.protocol.release import GATE_FILE
from engine.protocol.run_dir import Run
from engine.protocol.sums import SUMS_FILE, unlike
from engine.verify.checks import Problem


def released(run: Run) -> list[Path]:
    """The folders of a run's artefacts; one with a gate alone holds nothing that could be served."""
    folders = [path for path in _inside(run.release) if path.is_dir() and not path.is_symlink()]
    return [folder for folder in folders if {path.name for path in _inside(folder)} - {GATE_FILE}]


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def release_problems(run: Run) -> Iterator[Problem]:
    """The files of releases that differ from their list, those that no list has, and lists that cannot be read.

    An artefact's folder holds what its list names and nothing else; that of the release holds its pages.
    """
    for folder in released(run):
        yield from _problems(run, folder)
    if any(path.is_symlink() or not path.is_dir() for path in _inside(run.release)):
        yield from _problems(run, run.release)


def _problems(run: Run, folder: Path) -> Iterator[Problem]:
    inside = folder.relative_to(run.folder).as_posix()
    try:
        for name, what in unlike(folder, flat=folder == run.release):
            yield Problem(file=f"{inside}/{name}", what=what)
    except DamagedError as error:
        yield Problem(file=f"{inside}/{SUMS_FILE}", what=f"is {error.problem}")
