"""What a checksum tells, and when a file is read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.protocol import checksums, jsonl
from engine.protocol.checksums import FileSum, difference, file_sum, files_of
from engine.protocol.errors import DamagedError

ROWS = "".join(f'{{"n":{n}}}\n' for n in range(64))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return path


def test_lines_are_counted_in_files_of_rows_alone(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "rows.bin"
    other.write_text(ROWS)
    assert file_sum(file).lines == 64 and file_sum(other) == FileSum(
        sha256=file_sum(file).sha256, bytes=len(ROWS), lines=None
    )


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (ROWS, ""),
        ("", "is empty, and had 64 lines"),
        (ROWS[: len(ROWS) // 2], "has 32 of 64 lines"),
        (ROWS * 2, "has 128 lines, and had 64"),
        (ROWS[:-3] + "x}\n", "has the same size, but other content"),
        (ROWS.replace("63", "6"), f"has {len(ROWS) - 1:,} bytes, and had {len(ROWS):,}"),
    ],
    ids=["same", "empty", "cut", "doubled", "changed", "shorter"],
)
def test_how_a_file_differs(file: Path, content: str, how: str) -> None:
    known = file_sum(file)
    file.write_text(content)
    assert difference(file, known) == how


def test_a_file_that_is_gone(file: Path) -> None:
    known = file_sum(file)
    file.unlink()
    assert difference(file, known) == "is missing"


def test_times_that_were_put_back_hide_nothing(file: Path) -> None:
    known, seen = file_sum(file), file.stat()
    file.write_text(ROWS.replace("10", "11"))
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert difference(file, known) == "has the same size, but other content"


def test_every_flipped_bit_of_a_json_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    checksums.write_json(path, {"reached": True, "score": 85.25, "name": "ü", "worst": float("nan")})
    whole = path.read_bytes()
    assert checksums.read_json(path) == {"reached": True, "score": 85.25, "name": "ü", "worst": None}
    passed = []
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            row = checksums.read_json(path)
        except DamagedError:
            continue
        passed.append((bit, row))
    # Where the key of the checksum itself is hit, the file looks as an earlier version writes it.
    assert all(row is not None and "score" in row and row["score"] == 85.25 for _, row in passed)
    assert len(passed) <= 8 * len("sha256")


def test_a_file_of_an_earlier_version_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert checksums.read_json(path) is None
    jsonl.write_json(path, {"a": 1})
    assert checksums.read_json(path) == {"a": 1}


def test_a_folder_with_a_manifest_stands_for_its_files(tmp_path: Path) -> None:
    for name in ("a", "sub/b", "stage/c", "stage/manifest.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = [path.relative_to(tmp_path).as_posix() for path in files_of(tmp_path, ends="manifest.json")]
    assert found == ["a", "stage/manifest.json", "sub/b"]
