import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.protocol.errors import LlamaDuoError
from engine.service.completion import Completion, Request
from engine.service.ledger import Ledger, Totals

REQUEST = Request(model="m", messages=[{"role": "user", "content": "ü\ud800"}], max_tokens=9)
REPLY = Completion("te\0xt\N{LLAMA}", "stop", 10, 5, 0.25)


async def test_an_answer_outlives_its_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert await ledger.completion(REQUEST) is None
    await ledger.record(REQUEST, REPLY, 1.5)
    ledger.close()

    again = Ledger(tmp_path / "ledger.sqlite")
    assert await again.completion(REQUEST) == Completion("te\0xt\N{LLAMA}", "stop", 10, 5, 0.25, cached=True)
    assert again.totals() == Totals(1, 10, 5, 0.25)
    again.close()


async def test_an_answer_is_on_the_disk_before_anybody_uses_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await ledger.record(REQUEST, REPLY, 1.5)

    with sqlite3.connect(tmp_path / "ledger.sqlite") as another:
        assert another.execute("SELECT key, asked FROM calls").fetchall() == [(REQUEST.digest, 1.5)]
    ledger.close()


async def test_what_an_earlier_run_paid_is_no_call_of_this_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await ledger.record(REQUEST, Completion("x", "stop", 0, 0, 0.0), 1.5)

    assert await ledger.completion(REQUEST) is not None
    assert ledger.totals() == Totals()
    ledger.close()


async def test_a_question_without_answer_counts_for_nothing(tmp_path: Path) -> None:
    """Ledgers of the first version noted questions too."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with sqlite3.connect(tmp_path / "ledger.sqlite") as another:
        values = (REQUEST.digest, "m", "{}", 1.0)
        another.execute("INSERT INTO calls (key, model, request, asked) VALUES (?, ?, ?, ?)", values)

    assert await ledger.completion(REQUEST) is None
    assert ledger.totals() == Totals()
    await ledger.record(REQUEST, REPLY, 1.5)
    assert await ledger.completion(REQUEST) is not None
    ledger.close()


async def test_the_journal_suits_network_file_systems(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await ledger.record(REQUEST, REPLY, 1.5)
    ledger.close()

    (mode,) = sqlite3.connect(tmp_path / "ledger.sqlite").execute("PRAGMA journal_mode").fetchone()
    assert mode == "delete"
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]


async def test_a_ledger_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with sqlite3.connect(tmp_path / "ledger.sqlite") as another:
        another.execute("DROP TABLE calls")

    with pytest.raises(sqlite3.OperationalError):
        await ledger.record(REQUEST, REPLY, 1.5)
    ledger.close()


@pytest.mark.parametrize("keep", [100, 3000])
async def test_a_damaged_ledger_says_what_is_lost_without_it(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    path.write_bytes(path.read_bytes()[:keep] + b"?" * 4096)
    with pytest.raises(LlamaDuoError, match=r"ledger\.sqlite: damaged ledger") as caught:
        Ledger(path)
    assert "asks before it pays for anything again" in caught.value.hint


async def test_a_ledger_that_kept_one_call_a_request_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(
            "CREATE TABLE calls (key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, asked REAL NOT NULL,"
            " answered REAL, reply TEXT, finish_reason TEXT, prompt_tokens INTEGER NOT NULL DEFAULT 0,"
            " completion_tokens INTEGER NOT NULL DEFAULT 0, cost_usd REAL NOT NULL DEFAULT 0);"
            "CREATE TABLE flights (key TEXT NOT NULL, began REAL NOT NULL, cost_usd REAL NOT NULL,"
            " PRIMARY KEY (key, began)) WITHOUT ROWID;"
        )
        old.execute("INSERT INTO calls VALUES (?, 'm', '{}', 1, 2, 'hi', 'stop', 10, 5, 0.25)", (REQUEST.digest,))
        old.commit()
    for _ in range(2):
        ledger = Ledger(path)
        assert ledger.totals() == Totals(1, 10, 5, 0.25)
        assert await ledger.completion(REQUEST) == Completion("hi", "stop", 10, 5, 0.25, cached=True)
        ledger.close()
    ledger = Ledger(path)
    ledger.reject(REQUEST)
    assert await ledger.completion(REQUEST) is None
    ledger.close()
    again = Ledger(path)
    assert await again.completion(REQUEST) is None and again.totals() == Totals(1, 10, 5, 0.25)
    again.close()


async def test_a_page_that_is_damaged_is_noticed_at_opening(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    for number in range(40):
        request = Request(model="m", messages=[{"role": "user", "content": f"{number} " * 500}], max_tokens=9)
        await ledger.record(request, REPLY, 1.5)
    ledger.close()
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 4096] = bytes(4096)
    path.write_bytes(whole)
    with pytest.raises(LlamaDuoError, match="damaged ledger"):
        Ledger(path)
