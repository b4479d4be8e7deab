"""Checksums of the files of a run: what a stage wrote can be told from what a disk, a copy or a hand made of it.

Small JSON files carry a checksum of their own content; of all other files the manifest next to them has one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from engine.protocol import jsonl, plain_file
from engine.protocol.counts import number_of
from engine.protocol.errors import DamagedError
from engine.protocol.tree import below

OWN = "sha256"
"""The key under which a JSON file has the checksum of its other keys."""

BLOCK = 2**20

MUCH = 64 * 2**20
"""Bytes beyond which a file that has grown is not read to count its lines."""


class FileSum(msgspec.Struct, frozen=True, kw_only=True):
    """A file's SHA-256 in hex digits and its size; `lines` are the newlines of a .jsonl file, None of others."""

    sha256: str
    bytes: int
    lines: int | None = None


def file_sum(path: Path) -> FileSum:
    """The checksum of a file, streamed. Raises OSError where it cannot be read.

    A process reads a file once, for as long as its inode, its size and both of its times stay the same. Nobody trusts
    times that another process has seen: a disk that flips a bit keeps them, and so does a restored copy.
    """
    seen = path.stat()
    return _sum(path, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


@lru_cache(maxsize=4096)
def _sum(path: Path, *_: int) -> FileSum:
    counted = path.suffix == ".jsonl"
    digest, size, lines = hashlib.sha256(), 0, 0
    with plain_file.open_file(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
            lines += block.count(b"\n") if counted else 0
    return FileSum(sha256=digest.hexdigest(), bytes=size, lines=lines if counted else None)


def difference(path: Path, known: FileSum) -> str:
    """How a file differs from what it was, in words that follow its name; "" where it does not."""
    try:
        if (size := path.stat().st_size) > 2 * known.bytes + MUCH:  # it may never end
            plain_file.check(path)
            return f"has {size:,} bytes, and had {known.bytes:,}"
        now = file_sum(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if now.sha256 == known.sha256:
        return ""
    if not now.bytes:
        return f"is empty, and had {_size(known)}"
    if now.lines is not None and known.lines is not None and now.lines != known.lines:
        return (
            f"has {now.lines:,} of {number_of(known.lines, 'line')}"
            if now.lines < known.lines
            else f"has {number_of(now.lines, 'line')}, and had {known.lines:,}"
        )
    if now.bytes != known.bytes:
        return f"has {now.bytes:,} bytes, and had {known.bytes:,}"
    return "has the same size, but other content"


def _size(known: FileSum) -> str:
    return number_of(known.bytes, "byte") if known.lines is None else number_of(known.lines, "line")


def flush(paths: Iterable[Path]) -> None:
    """Have the disk keep these files and folders, so that they outlive a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Have the disk keep a folder with all that is in it."""
    flush([*reversed(below(folder)), folder])


def write_json(path: Path, row: jsonl.Row, mode: int | None = None) -> None:
    """Replace a JSON file atomically and for good, with the checksum of its content in it."""
    row = json.loads(jsonl.dumps({key: value for key, value in row.items() if key != OWN}))
    jsonl.write_json(path, {**row, OWN: _own(row)}, mode)
    flush([path.parent])


def read_json(path: Path) -> jsonl.Row | None:
    """The object of a JSON file without its checksum, None where there is no file.

    Raises DamagedError where it holds no object, or another one than was written. One that an earlier version wrote has
    no checksum, and passes.
    """
    row = jsonl.read_json(path)
    return None if row is None else verified(path, row)[0]


def verified(path: Path, row: jsonl.Row) -> tuple[jsonl.Row, bool]:
    """A row of a JSON file without its checksum, and whether it has one. Raises DamagedError where it doesn't match."""
    given = row.pop(OWN, None)
    if given is not None and given != _own(row):
        raise DamagedError(path, "its content does not match its checksum")
    return row, given is not None


def _own(row: dict[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def files_of(folder: Path, *, ends: str) -> Iterator[Path]:
    """The files below a folder; of a folder in it that has a file of the name `ends`, that file alone."""
    return (path for path in below(folder, ends=ends) if path.is_symlink() or not path.is_dir())
