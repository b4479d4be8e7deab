"""What is used up where a file cannot be written, whoever says so."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.protocol.full_disk import full

LIMIT = 64 * 1024


@pytest.fixture
def limited() -> Iterator[None]:
    """As after `ulimit -f`: files of this process may not grow further."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a"), "the disk is full: /runs/a"),
        (RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "your disk quota is used up"),
        (RuntimeError("SafetensorError: I/O error: Disk quota exceeded (os error 122)"), "your disk quota is used up"),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "a file is too large for its file system"),
    ],
)
def test_what_is_used_up(error: Exception, what: str) -> None:
    found = full(error)
    assert found is not None and found.what == what and found.hint


def test_other_errors_are_none_of_it() -> None:
    assert full(OSError(errno.EACCES, "Permission denied")) is None
    assert full(sqlite3.OperationalError("database is locked")) is None


def test_a_limit_of_this_shell(limited: None, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        (tmp_path / "a").write_bytes(b"x" * 2 * LIMIT)
    with closing(sqlite3.connect(tmp_path / "b")) as database, pytest.raises(sqlite3.OperationalError) as other:
        database.execute("CREATE TABLE a (b)")
        with database:
            database.execute("INSERT INTO a VALUES (?)", ("x" * 2 * LIMIT,))
    for error in (caught.value, other.value):
        found = full(error)
        assert found is not None and found.what.startswith("a file may not grow further")
        assert "ulimit -f unlimited" in found.hint
