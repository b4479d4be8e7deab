"""A journal that cannot be read is one line with a next step."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from engine.protocol import sqlite_file
from engine.protocol.errors import DamagedError, LlamaDuoError
from engine.protocol.journal_reading import journal_of


def count(path: Path) -> int:
    with journal_of(path) as journal:
        found: int = journal.execute("SELECT COUNT(*) FROM requests").fetchone()[0]
        return found


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "no such table: requests"), (b"no database" * 100, "file is not a database")]
)
def test_what_is_no_journal_is_named_with_its_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    with pytest.raises(DamagedError) as error:
        count(path)
    assert error.value.message == f"{path}: damaged: {said}"
    assert error.value.hint.startswith("restore it from a copy")


def test_a_busy_one_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.0)
    path = tmp_path / "journal.sqlite"
    writer = sqlite3.connect(path)
    writer.execute("CREATE TABLE requests (id INTEGER)")
    writer.commit()
    assert count(path) == 0
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(LlamaDuoError, match="another process is writing it") as error:
        count(path)
    assert not isinstance(error.value, DamagedError)
    writer.close()
