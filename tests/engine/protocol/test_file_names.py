"""Names of files in records: which lead out of their folder, or cannot be names."""

from __future__ import annotations

import pytest

from engine.protocol.file_names import check_inner, is_inner


@pytest.mark.parametrize("name", ["a", "round-01/judge/verdicts.jsonl", "a..b", "...", "ü/é", "a b", "x" * 255])
def test_files_of_a_folder(name: str) -> None:
    assert is_inner(name)


@pytest.mark.parametrize(
    "name", ["", ".", "/etc/passwd", "..", "../a", "a/../../b", "a/..", "a\0b", "x" * 256, "ü" * 128, "\ud800"]
)
def test_names_that_are_none(name: str) -> None:
    assert not is_inner(name)
    with pytest.raises(ValueError, match="not a file in its folder"):
        check_inner(["a", name])
