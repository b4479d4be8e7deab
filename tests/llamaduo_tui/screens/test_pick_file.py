from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llamaduo_tui.screens.pick_file import FileTree, PickCoverage


@pytest.mark.parametrize(
    "chosen, begins",
    [("logs/a.jsonl", "logs"), ("logs/*.jsonl", "logs"), ("", ""), ("gone/a.jsonl", ""), ("s3://bucket/a.jsonl", "")],
)
def test_the_tree_begins_at_the_value_so_far(tmp_path: Path, chosen: str, begins: str) -> None:
    (tmp_path / "logs").mkdir()
    assert PickCoverage(tmp_path, None, chosen)._first == tmp_path / begins
    outside = PickCoverage(tmp_path / "logs", None, str(tmp_path / "a.jsonl"))
    assert outside._first == tmp_path


def test_coverage_files_are_shown_compressed_or_not(tmp_path: Path) -> None:
    names = ["a.jsonl", "b.jsonl.gz", "c.csv.ZST", "d.arrow", "e.parquet"]
    for name in (*names, "x.toml", ".hidden.jsonl", "y"):
        (tmp_path / name).touch()
    tree: Any = SimpleNamespace(_suffixes=PickCoverage(tmp_path, None)._suffixes)
    assert sorted(path.name for path in FileTree.filter_paths(tree, tmp_path.iterdir())) == names
