from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.protocol import jsonl, records
from engine.protocol.errors import DamagedError
from engine.protocol.rows import Pair, SyntheticPair, Verdict


@dataclass(frozen=True, slots=True)
class Some:
    name: str
    share: float = 0.0
    often: int | None = None
    more: list[str] = field(default_factory=list)


def test_fields_that_are_not_known_are_left_out_and_those_that_are_missing_have_their_defaults() -> None:
    assert records.build(Some, {"name": "a", "colour": "red"}) == Some("a")
    assert records.build(Some, {"name": "a", "share": 1, "often": None, "more": ["b"]}) == Some("a", 1, None, ["b"])


@pytest.mark.parametrize(
    "row, why",
    [
        (None, "no object"),
        ([], "no object"),
        ({}, "'name'"),
        ({"name": 5}, "name is of another type"),
        ({"name": "a", "share": "1"}, "share is of another type"),
        ({"name": "a", "often": 1.5}, "often is of another type"),
        ({"name": "a", "more": {}}, "more is of another type"),
    ],
)
def test_what_does_not_fit(row: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        records.build(Some, row)


def test_the_rows_of_stages_come_back(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    for row in (
        Pair(
            id="1",
            messages=chat,
            category="kind",
            source="file:1",
            tools=[{"type": "function", "function": {"name": "f"}}],
        ),  # type: ignore[arg-type]
        SyntheticPair(id="1", messages=chat, category="kind", generator="gpt", seed_id="2", round=1),  # type: ignore[arg-type]
        Verdict(
            id="1",
            sample=0,
            repeat=0,
            judge="judge",
            similarity=None,
            precision=50,
            similarity_reason="",
            precision_reason="",
            error="unreadable",
        ),
    ):
        jsonl.write(tmp_path / "rows.jsonl", [row.to_row()] * 2)
        assert list(records.read(tmp_path / "rows.jsonl", type(row))) == [row, row]


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "rows.jsonl", [{"name": "a"}, {"name": 1}])
    with pytest.raises(DamagedError, match=r"rows\.jsonl: is damaged: line 2: name is of another type"):
        list(records.read(tmp_path / "rows.jsonl", Some))
