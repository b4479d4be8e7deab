"""How a folder differs from its SHA256SUMS, and lists that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.protocol.checksums import file_sum
from engine.protocol.errors import DamagedError
from engine.protocol.sums import SUMS_FILE, read_sums, unlike


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.txt", "sub/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    lines = [f"{file_sum(tmp_path / name).sha256}  {name}\n" for name in ("a.txt", "sub/b.txt")]
    (tmp_path / SUMS_FILE).write_text("".join(lines))
    return tmp_path


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("a.txt does not match its checksum", lambda at: (at / "a.txt").write_text("b.txt")),
    ("a.txt is missing", lambda at: (at / "a.txt").unlink()),
    ("a.txt cannot be read: not a regular file", lambda at: pipe(at / "a.txt")),
    ("sub/.c is not a file of the release", lambda at: (at / "sub" / ".c").write_text("")),
    ("d is not a file of the release", lambda at: os.mkfifo(at / "d")),
    ("e is a link", lambda at: (at / "e").symlink_to("e")),
]


@pytest.mark.parametrize(("told", "change"), CHANGES)
def test_each_difference_is_named(folder: Path, told: str, change: Callable[[Path], object]) -> None:
    assert list(unlike(folder)) == []
    change(folder)
    assert [f"{name} {what}" for name, what in unlike(folder)] == [told]


def test_a_flat_folder_leaves_out_those_in_it(folder: Path) -> None:
    (folder / "sub" / "c").write_text("")
    (folder / "d").write_text("")
    assert [name for name, _ in unlike(folder, flat=True)] == ["d"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"0" * 64 + b"  ../../etc/passwd\n",
        b"0" * 64 + b"  /etc/passwd\n",
        b"0" * 64 + b"  a\0b\n",
        b"0" * 64 + b"  " + b"a" * 300 + b"\n",
        (b"0" * 64 + b"  a.txt\n") * 2,
        b"0" * 63 + b"  a.txt\n",
    ],
)
def test_a_list_that_is_none(folder: Path, text: bytes) -> None:
    (folder / SUMS_FILE).write_bytes(text)
    with pytest.raises(DamagedError, match="damaged"):
        read_sums(folder)


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    pipe(folder / SUMS_FILE)
    with pytest.raises(DamagedError, match="not a regular file"):
        read_sums(folder)
