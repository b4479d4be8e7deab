"""What the worker does on its event loop: nothing that takes longer the more rows, verdicts or reviews there are."""

from __future__ import annotations

from typing import Any


def test_rows_are_read_and_files_hashed_in_threads(watched: Any) -> None:
    found = sorted(set(watched.on_loop))
    assert not found, "\n".join(found)
