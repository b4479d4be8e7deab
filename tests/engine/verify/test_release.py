"""What is told of releases that are not as they were written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.protocol.checksums import file_sum
from engine.protocol.run_dir import Run
from engine.verify.checks import RELEASE, claim_of
from engine.verify.release import release_problems, released


def sums(folder: Path, *names: str) -> None:
    lines = [f"{file_sum(folder / name).sha256}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


no_sums = shutil.ignore_patterns("SHA256SUMS")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def release(run: Run) -> Path:
    folder = run.release / "gguf-q8_0"
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"weights")
    sums(folder, "model.gguf")
    (run.release / "report.md").write_text("page")
    sums(run.release, "report.md")
    return folder


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("gguf-q8_0/SHA256SUMS is missing", lambda at: (at / "SHA256SUMS").unlink()),
    ("gguf-q8_0/SHA256SUMS is damaged: not a list of checksums", lambda at: (at / "SHA256SUMS").write_text("")),
    ("gguf-q8_0/SHA256SUMS is damaged: not a regular file", lambda at: pipe(at / "SHA256SUMS")),
    ("gguf-q8_0/code.py is not a file of the release", lambda at: (at / "code.py").write_text("")),
    ("gguf-q8_0/model.gguf is missing", lambda at: (at / "model.gguf").unlink()),
    ("gguf-q8_0/more is a link", lambda at: (at / "more").symlink_to("/etc")),
    ("report.md does not match its checksum", lambda at: (at.parent / "report.md").write_text("Page")),
    ("evil.html is not a file of the release", lambda at: (at.parent / "evil.html").write_text("")),
    ("SHA256SUMS is missing", lambda at: (at.parent / "SHA256SUMS").unlink()),
    ("copy is a link", lambda at: (at.parent / "copy").symlink_to(at)),
    ("other/SHA256SUMS is missing", lambda at: shutil.copytree(at, at.parent / "other", ignore=no_sums)),
]


@pytest.mark.parametrize(("told", "change"), CHANGES)
def test_each_change_is_named(run: Run, told: str, change: Callable[[Path], object]) -> None:
    change(release(run))
    (problem,) = release_problems(run)
    assert str(problem) == f"release/{told}" and claim_of(problem.file) == RELEASE


def test_a_whole_release_and_none(run: Run) -> None:
    assert list(release_problems(run)) == released(run) == []
    folder = release(run)
    assert list(release_problems(run)) == [] and released(run) == [folder]
