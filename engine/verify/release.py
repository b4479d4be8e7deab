"""Whether the files of a release are those that it was made of, where it has a list of checksums."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.protocol import plain_file
from engine.protocol.checksums import file_sum
from engine.protocol.run_dir import Run
from engine.verify.checks import Problem

SUMS = "SHA256SUMS"


def released(run: Run) -> list[Path]:
    """The folders of a run's artefacts that have a list of checksums."""
    return [folder for folder in _listed(run) if folder != run.release]


def _listed(run: Run) -> list[Path]:
    """The folders of a release that have a list of checksums: those of artefacts, and that of its pages."""
    return sorted(path.parent for path in run.release.rglob(SUMS))


def release_problems(run: Run) -> Iterator[Problem]:
    """The files of releases that differ from their list, and lists that cannot be read."""
    for folder in _listed(run):
        for number, line in enumerate(
            plain_file.read_bytes(folder / SUMS).decode(errors="replace").splitlines(), start=1
        ):
            digest, _, name = line.partition(" ")
            path = folder / name.strip().removeprefix("*")
            if len(digest) != 64 or not name.strip() or not path.resolve().is_relative_to(folder.resolve()):
                yield _problem(run, folder / SUMS, f"line {number} has no checksum and name of a file")
            elif not path.is_file():
                yield _problem(run, path, "is missing")
            elif file_sum(path).sha256 != digest.lower():
                yield _problem(run, path, "does not match its checksum")


def _problem(run: Run, path: Path, what: str) -> Problem:
    return Problem(file=path.relative_to(run.folder).as_posix(), what=what)
