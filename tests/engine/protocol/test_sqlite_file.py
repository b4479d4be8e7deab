"""SQLite files that somebody sent: tables are read, programs in them are not run."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.protocol.errors import DamagedError
from engine.protocol.sqlite_file import reading

TABLE = "CREATE TABLE calls (key TEXT, cost_usd REAL); INSERT INTO calls VALUES ('a', 2.5);"
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS key, 0.0 AS cost_usd FROM n"


def made(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    return path


@pytest.mark.parametrize("immutable", [False, True])
def test_tables_are_read(tmp_path: Path, immutable: bool) -> None:
    path = made(tmp_path / "with ? and %.sqlite", TABLE)
    with reading(path, immutable=immutable) as database:
        assert database.execute("SELECT SUM(cost_usd) FROM calls").fetchone() == (2.5,)
        with pytest.raises(sqlite3.OperationalError):
            database.execute("DELETE FROM calls")


@pytest.mark.parametrize(
    "script",
    [
        f"CREATE VIEW calls AS {ENDLESS};",
        "CREATE TABLE other (a); CREATE TRIGGER t AFTER INSERT ON other BEGIN DELETE FROM other; END;",
        "CREATE VIRTUAL TABLE calls USING fts5(key, cost_usd);",
        "CREATE TABLE calls (key TEXT, cost_usd REAL, reply TEXT AS (hex(zeroblob(400000000))));",
        "CREATE TABLE calls (key TEXT, cost_usd REAL CHECK (length(hex(zeroblob(400000000))) > 1));",
        f"CREATE TABLE calls (key TEXT DEFAULT '{'x' * 20_000}', cost_usd REAL);",
    ],
    ids=["view", "trigger", "virtual table", "computed column", "condition", "long default"],
)
def test_programs_are_refused(tmp_path: Path, script: str) -> None:
    path = made(tmp_path / "a.sqlite", script)
    with pytest.raises(sqlite3.DatabaseError, match="that this program did not make"), reading(path):
        pass


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 500)
    with pytest.raises(sqlite3.DatabaseError), reading(tmp_path / "text"):
        pass
    with pytest.raises(sqlite3.OperationalError), reading(tmp_path / "missing"):
        pass
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedError), reading(tmp_path / "pipe"):
        pass
