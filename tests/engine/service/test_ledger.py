import sqlite3
from pathlib import Path

import pytest

from engine.protocol.errors import LlamaDuoError
from engine.service.ledger import Completion, Ledger, Totals, request_key

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "ü\ud800"}], "params": {"a": 1, "b": 2}, "repeat": 0}
REPLY = Completion("te\0xt\N{LLAMA}", "stop", 10, 5, 0.25)


async def test_an_answer_outlives_its_ledger(tmp_path: Path) -> None:
    key = request_key(REQUEST)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert await ledger.completion(key) is None
    await ledger.record(key, REQUEST, REPLY, 1.5)
    ledger.close()

    again = Ledger(tmp_path / "ledger.sqlite")
    assert await again.completion(key) == Completion("te\0xt\N{LLAMA}", "stop", 10, 5, 0.25, cached=True)
    assert again.totals() == Totals(1, 10, 5, 0.25)
    again.close()


async def test_an_answer_is_on_the_disk_before_anybody_uses_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await ledger.record("k", REQUEST, REPLY, 1.5)

    with sqlite3.connect(tmp_path / "ledger.sqlite") as another:
        assert another.execute("SELECT key, asked FROM calls").fetchall() == [("k", 1.5)]
    ledger.close()


async def test_what_an_earlier_run_paid_is_no_call_of_this_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await ledger.record("k", REQUEST, Completion("x", "stop", 0, 0, 0.0), 1.5)

    assert await ledger.completion("k") is not None
    assert ledger.totals() == Totals()
    ledger.close()


async def test_a_question_without_answer_counts_for_nothing(tmp_path: Path) -> None:
    """Ledgers of the first version noted questions too."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with sqlite3.connect(tmp_path / "ledger.sqlite") as another:
        another.execute("INSERT INTO calls (key, model, request, asked) VALUES ('k', 'm', '{}', 1.0)")

    assert await ledger.completion("k") is None
    assert ledger.totals() == Totals()
    await ledger.record("k", REQUEST, REPLY, 1.5)
    assert await ledger.completion("k") is not None
    ledger.close()


def test_the_key_tells_requests_apart_and_not_their_order() -> None:
    reordered = {name: REQUEST[name] for name in reversed(REQUEST)} | {"params": {"b": 2, "a": 1}}
    changes = [{"repeat": 1}, {"model": "n"}, {"messages": []}, {"params": {"a": 1, "b": 3}}]

    assert request_key(reordered) == request_key(REQUEST)
    assert len({request_key(REQUEST | change) for change in changes} | {request_key(REQUEST)}) == 5


async def test_the_journal_suits_network_file_systems(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await ledger.record("k", REQUEST, REPLY, 1.5)
    ledger.close()

    (mode,) = sqlite3.connect(tmp_path / "ledger.sqlite").execute("PRAGMA journal_mode").fetchone()
    assert mode == "delete"
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]


async def test_a_ledger_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with sqlite3.connect(tmp_path / "ledger.sqlite") as another:
        another.execute("DROP TABLE calls")

    with pytest.raises(sqlite3.OperationalError):
        await ledger.record("k", REQUEST, REPLY, 1.5)
    ledger.close()


@pytest.mark.parametrize("keep", [100, 3000])
async def test_a_damaged_ledger_says_what_is_lost_without_it(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    path.write_bytes(path.read_bytes()[:keep] + b"?" * 4096)
    with pytest.raises(LlamaDuoError, match=r"ledger\.sqlite: is damaged") as caught:
        Ledger(path)
    assert "the budget counts from zero" in caught.value.hint
