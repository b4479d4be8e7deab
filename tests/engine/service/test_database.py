import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.service import database as databases
from engine.service.database import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY)"
INSERT = "INSERT INTO t VALUES (?)"


async def test_writes_that_meet_share_a_commit(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.sqlite", SCHEMA)
    commits: list[str] = []
    held = threading.Event()
    database._thread.submit(held.wait)
    database._thread.submit(database._connection.set_trace_callback, commits.append)
    writes = [asyncio.create_task(database.write(INSERT, (n,))) for n in range(20)]
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(*writes)

    assert await database.row("SELECT COUNT(*) FROM t") == (20,)
    assert commits.count("COMMIT") == 1
    database.close()


async def test_each_writer_learns_of_its_failure(tmp_path: Path) -> None:
    """What cannot be committed is not taken for written by those whose statements went along."""
    database = Database(tmp_path / "t.sqlite", SCHEMA)
    outcomes = await asyncio.gather(*(database.write(INSERT, (n,)) for n in (1, 1, 2)), return_exceptions=True)

    assert sqlite3.IntegrityError in {type(outcome) for outcome in outcomes}
    (count,) = await database.row("SELECT COUNT(*) FROM t")
    assert count == sum(outcome is None for outcome in outcomes)
    database.close()


async def test_what_a_cancelled_caller_asked_for_is_done(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.sqlite", SCHEMA)
    held = threading.Event()
    database._thread.submit(held.wait)
    write = asyncio.create_task(database.write(INSERT, (1,)))
    await asyncio.sleep(0)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    held.set()
    database.close()

    assert sqlite3.connect(tmp_path / "t.sqlite").execute("SELECT k FROM t").fetchall() == [(1,)]


async def test_another_writer_is_waited_for(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.sqlite", SCHEMA)
    another = sqlite3.connect(tmp_path / "t.sqlite", isolation_level=None)
    another.execute("BEGIN IMMEDIATE")
    write = asyncio.create_task(database.write(INSERT, (1,)))
    await asyncio.sleep(0.05)
    assert not write.done()
    another.execute("COMMIT")
    await write
    database.close()


KILLED = """
import sys, time
from pathlib import Path
from engine.service.database import Database
database = Database(Path(sys.argv[1]), sys.argv[2], quick=True)
for n in range(30):
    database.later((sys.argv[3], (n,))).result()
print("committed", flush=True)
time.sleep(60)
"""


def write_until_killed(path: Path) -> None:
    """Rows by a process that dies with them; others read them before that as well."""
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path), SCHEMA, INSERT], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"committed\n"
    assert count(path) == 30
    writer.kill()
    writer.wait()


def count(path: Path) -> int:
    """The rows that another process reads, which changes nothing."""
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return int(reader.execute("SELECT COUNT(*) FROM t").fetchone()[0])
    finally:
        reader.close()


@pytest.mark.parametrize("local", [True, False])
async def test_a_quick_one_loses_nothing_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    path = tmp_path / "t.sqlite"
    write_until_killed(path)
    assert count(path) == 30
    monkeypatch.setattr("engine.service.database.is_local", lambda _: local)
    again = Database(path, SCHEMA, quick=True)
    await again.write(INSERT, (30,))
    assert (await again.row("PRAGMA journal_mode"))[0] == ("wal" if local else "delete")
    again.close()
    assert count(path) == 31
    assert [file.name for file in tmp_path.iterdir()] == ["t.sqlite"]


async def test_what_a_full_disk_refuses_waits_in_order_and_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "AGAIN_S", 0.0)
    told: list[str] = []
    schema = "CREATE TABLE t (k INTEGER PRIMARY KEY, text TEXT)"
    database = Database(tmp_path / "t.sqlite", schema, gather_s=0.0, waits=told.append)
    database.rows("PRAGMA max_page_count = 4")
    for number in range(20):
        await database.write("INSERT INTO t VALUES (?, ?)", (number, "x" * 1000))
        await database.write("UPDATE t SET text = ? WHERE k = ?", (f"ended {number}" + "x" * 1000, number))
    assert len(database.rows("SELECT k FROM t")) < 20
    assert len(told) == 1
    assert told[0].startswith("the disk takes no rows (database or disk is full")
    database.rows("PRAGMA max_page_count = 10000")
    await database.write("INSERT INTO t VALUES (?, ?)", (99, "later"))
    assert [text[:8] for (text,) in database.rows("SELECT text FROM t WHERE k < 10")] == [
        f"ended {number}x" for number in range(10)
    ]
    assert len(database.rows("SELECT k FROM t")) == 21
    assert told[1].startswith("the disk takes rows again")
    with pytest.raises(sqlite3.IntegrityError):  # an error of another kind stays one
        await database.write("INSERT INTO t VALUES (?, ?)", (99, "again"))
    database.close()


async def test_too_many_that_wait_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "MOST_WAITING", 3)
    database = Database(tmp_path / "t.sqlite", SCHEMA, gather_s=0.0, waits=lambda _: None)
    database.rows("PRAGMA query_only = 1")
    for number in range(3):
        await database.write(INSERT, (number,))
    with pytest.raises(sqlite3.OperationalError):
        await database.write(INSERT, (3,))
    database.rows("PRAGMA query_only = 0")
    await database.write(INSERT, (4,))
    assert database.rows("SELECT k FROM t") == [(0,), (1,), (2,), (4,)]
    database.close()
