"""What is below a folder, and its removal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.dataset.sources.folder import data_files
from engine.protocol import manifest, run_files, sharing, tree
from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run, create
from engine.verify.verification import verify

DEEP = 3000
"""Folders: more than Python's stack, than a process may open, and than a path can name."""


SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    yield create(tmp_path / "runs", "demo", SETTINGS)
    tree.remove(tmp_path / "runs")  # pytest cannot


def nest(folder: Path, name: str = "a") -> None:
    """Put folders into a folder, each in the one before, and a file into the last."""
    here, current = os.open(".", os.O_RDONLY), folder
    try:
        os.chdir(folder)
        for _ in range(DEEP):
            Path(name).mkdir()
            os.chdir(name)
        Path("leaf").write_text("x")
    finally:
        os.fchdir(here)
        os.close(here)
    assert (current / name).is_dir()


def test_what_is_below_a_folder_is_sorted_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "b" / "inner").mkdir(parents=True)
    (tmp_path / "b" / "inner" / "end").write_text("x")
    (tmp_path / "b" / "inner" / "more").write_text("x")
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b" / "circle").symlink_to(tmp_path)
    names = ["a.txt", "b", "b/circle", "b/inner", "b/inner/end", "b/inner/more"]
    assert tree.below(tmp_path) == [tmp_path / name for name in names] == sorted(tmp_path.rglob("*"))
    assert tree.below(tmp_path, ends="end") == [tmp_path / name for name in names[:-1]]
    assert tree.below(tmp_path / "nowhere") == []


def test_deeply_nested_folders_are_refused_in_one_line(run: Run) -> None:
    (run.folder / "release").mkdir()
    nest(run.folder / "release")
    for look in (tree.below, data_files, lambda folder: verify(Run(folder)), lambda folder: sharing.apply(run, "all")):
        with pytest.raises(InputError, match="folders are nested too deep in it"):
            look(run.folder)


def test_deeply_nested_folders_are_deleted_and_nothing_else(run: Run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (run.folder / "takeover").mkdir()
    (run.folder / "takeover" / "link").symlink_to(outside)
    nest(run.folder / "takeover")
    nest(run.folder / "takeover", "b" * 200)
    assert run_files.remove(run) == [] and not run.folder.exists()
    assert (outside / "precious").exists()


def test_a_stage_is_begun_anew_over_deeply_nested_folders(tmp_path: Path) -> None:
    folder = tmp_path / "infer"
    manifest.begin(folder, "old")
    nest(folder)
    manifest.begin(folder, "new")
    assert [path.name for path in tree.below(folder)] == ["settings"]
