import sqlite3
from pathlib import Path

from engine.service.ledger import Ledger, Reply, Totals, request_key

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "ü\ud800"}], "params": {"a": 1, "b": 2}, "repeat": 0}
REPLY = Reply("te\0xt\N{LLAMA}", "stop", 10, 5, 0.25)


def test_an_answer_outlives_its_ledger(tmp_path: Path) -> None:
    key = request_key(REQUEST)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.asking(key, REQUEST)
    assert ledger.reply(key) is None
    ledger.answered(key, REPLY)
    ledger.close()

    again = Ledger(tmp_path / "ledger.sqlite")
    assert again.reply(key) == Reply("te\0xt\N{LLAMA}", "stop", 10, 5, 0.25, cached=True)
    assert again.totals() == Totals(1, 10, 5, 0.25)


def test_a_question_without_answer_counts_for_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for _ in range(2):
        ledger.asking("k", REQUEST)

    assert ledger.reply("k") is None
    assert ledger.totals() == Totals()


def test_the_key_tells_requests_apart_and_not_their_order() -> None:
    reordered = {name: REQUEST[name] for name in reversed(REQUEST)} | {"params": {"b": 2, "a": 1}}
    changes = [{"repeat": 1}, {"model": "n"}, {"messages": []}, {"params": {"a": 1, "b": 3}}]

    assert request_key(reordered) == request_key(REQUEST)
    assert len({request_key(REQUEST | change) for change in changes} | {request_key(REQUEST)}) == 5


def test_the_journal_suits_network_file_systems(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.asking("k", REQUEST)
    ledger.close()

    (mode,) = sqlite3.connect(tmp_path / "ledger.sqlite").execute("PRAGMA journal_mode").fetchone()
    assert mode == "delete"
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]
