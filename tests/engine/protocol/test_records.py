from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol import jsonl, records
from engine.protocol.decision import Interval
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
        (None, "Expected `object`"),
        ([], "Expected `object`"),
        ({}, "missing required field `name`"),
        ({"name": 5}, r"\$.name"),
        ({"name": "a", "share": "1"}, r"\$.share"),
        ({"name": "a", "often": 1.5}, r"\$.often"),
        ({"name": "a", "more": {}}, r"\$.more"),
        ({"name": "a", "more": [1]}, r"\$.more\[0\]"),
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
    with pytest.raises(DamagedError, match=r"rows\.jsonl: damaged: line 2: .*\$.name"):
        list(records.read(tmp_path / "rows.jsonl", Some))


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"[" * 100_000, b'{"name": "\xff"}', b'{"name": 1}'])
def test_a_line_that_is_no_row(line: bytes) -> None:
    with pytest.raises(ValueError):
        records.parse(Some, line)


def test_json_that_only_python_reads_is_read() -> None:
    assert records.parse(Some, b'{"name": "\\ud800", "share": 1}') == Some("\ud800", 1)
    assert records.parse(Some, b'{"name": "a", "share": NaN}').share != 0


@given(score=st.floats())
def test_a_score_that_no_screen_could_draw_is_refused(score: float) -> None:
    row = {"mean": score, "low": score, "high": score}
    if abs(score) <= 1e9:
        assert records.build(Interval, row).mean == score
    else:
        with pytest.raises(ValueError):
            records.build(Interval, row)


def test_a_message_is_checked_however_deep_it_lies() -> None:
    pair = Pair(id="1", messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]).to_row()
    assert records.build(Pair, pair).target == "a"
    for broken in (
        {"role": "user"},
        {"role": "user", "content": 5},
        {"role": "user", "content": "", "tool_calls": [1]},
    ):
        with pytest.raises(ValueError, match="messages"):
            records.build(Pair, {**pair, "messages": [broken]})
