"""The size of a stage's batches outlives its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.local.inference.encoded import BatchSizes


def test_only_the_first_process_writes_sizes_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BatchSizes(tmp_path).choose(8)
    monkeypatch.setenv("RANK", "1")
    other = BatchSizes(tmp_path)
    other.fit(4)
    assert other.at_once == 4
    monkeypatch.setenv("RANK", "0")
    first = BatchSizes(tmp_path)
    assert (first.size, first.at_once) == (8, None)
    first.fit(2)
    assert (BatchSizes(tmp_path).size, BatchSizes(tmp_path).at_once) == (8, 2)
