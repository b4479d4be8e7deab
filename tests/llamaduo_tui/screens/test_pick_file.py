from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llamaduo_tui.screens.pick_file import FileTree, PickCoverage


def test_coverage_files_are_shown_compressed_or_not(tmp_path: Path) -> None:
    names = ["a.jsonl", "b.jsonl.gz", "c.csv.ZST", "d.arrow", "e.parquet"]
    for name in (*names, "x.toml", ".hidden.jsonl", "y"):
        (tmp_path / name).touch()
    tree: Any = SimpleNamespace(_suffixes=PickCoverage(tmp_path, None)._suffixes)
    assert sorted(path.name for path in FileTree.filter_paths(tree, tmp_path.iterdir())) == names
