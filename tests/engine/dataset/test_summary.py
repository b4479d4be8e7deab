"""The summary of a loaded dataset, and its lines."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from engine.dataset.load import Loaded, load
from engine.dataset.record import Dropped
from engine.dataset.summary import reasons, summary
from engine.protocol.rows import Pair
from engine.settings.schema import Coverage


def test_reasons_are_counted_by_kind_with_the_first_of_each() -> None:
    dropped = [
        Dropped(3, "cut: finish_reason is 'length'", "{}", file="a.jsonl"),
        Dropped(4, "no answer", "{}", file="a.jsonl"),
        Dropped(9, "cut: stop_reason is 'max_tokens'", "{}", file="b.jsonl"),
    ]
    assert [(r.kind, r.count, r.place, r.detail) for r in reasons(dropped)] == [
        ("cut", 2, "a.jsonl:3", "finish_reason is 'length'"),
        ("no answer", 1, "a.jsonl:4", ""),
    ]
    assert reasons([]) == []


def test_counts_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"Ticket {n % 4}", "response": "As an AI language model, I cannot say."} for n in range(5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "x"}]))
    coverage = Coverage(source=str(file))
    found = summary(coverage, load(coverage))

    assert (found.sources, found.rows, found.used, found.dropped, found.duplicates) == (("rows.jsonl",), 6, 4, 2, 1)
    assert sum(reason.count for reason in found.reasons) == 2
    assert [concern.kind for concern in found.concerns] == ["refusal"]


def test_formats_and_notes_come_most_common_first() -> None:
    pair = Pair(id="1", messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}])
    formats, notes = Counter({"few": 1, "many": 9}), Counter({"rare": 1, "common": 5})
    found = summary(Coverage(source=["org/name", "s3://b/x.jsonl"]), Loaded([pair], [], 10, formats, notes))

    assert list(found.formats) == ["many", "few"] and list(found.notes) == ["common", "rare"]
    assert found.sources == ("org/name", "s3://b/x.jsonl")
