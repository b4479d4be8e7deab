from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import jsonl
from engine.sandbox import journal
from engine.sandbox.journal import Journal


def test_a_long_log_is_moved_away_and_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_BYTES", 2_000)
    log = tmp_path / "sandbox.jsonl"
    kept = Journal(log)
    for number in range(100):
        kept.record("asked", f"{number:016x}", "judge", 200)
        kept.record("answered", f"{number:016x}", "judge", 200)
        assert log.stat().st_size < 2_200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sandbox.jsonl", "sandbox.jsonl.1"]
    assert kept.stats()["asked"] == 100

    again = Journal(log)
    both = [*jsonl.read(log.with_name("sandbox.jsonl.1")), *jsonl.read(log)]
    assert again.stats()["asked"] == sum(row["event"] == "asked" for row in both) > 10
    again.record("asked", both[-1]["hash"], "judge", 200)
    assert again.stats()["asked_again"] == 1


def test_only_so_many_requests_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_ANSWERED", 3)
    kept = Journal()
    for digest in "abacd":
        kept.record("answered", digest, "judge", 200)
    for digest in "abcd":
        kept.record("asked", digest, "judge", 200)
    assert kept.stats()["asked_again"] == 3, "b is the one that was longest ago"
