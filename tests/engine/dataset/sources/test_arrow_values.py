from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.dataset.record import Binary, Number, RowError, unreadable
from engine.dataset.sources.arrow_values import decoder, plain_value

DAY = dt.date(2026, 3, 4)
MOMENT = dt.datetime(2026, 3, 4, 5, 6, 7, 500_000)


def decoded(array: Any) -> list[Any]:
    values = decoder(array.type)(array)
    assert decoder(array.type)(array.slice(1)) == values[1:]
    return values


def as_json(texts: list[str | None]) -> Any:
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["a", None]), ["a", None]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
        (pa.array(["a", None], pa.string_view()), ["a", None]),
        (pa.array(["a", "b", None, "a"]).dictionary_encode(), ["a", "b", None, "a"]),
        (pa.array([1, None], pa.int8()), [1, None]),
        (pa.array([True, None]), [True, None]),
        (pa.array([1.5, None]), [1.5, None]),
        (pa.array([None, None]), [None, None]),
        (pa.array([DAY, None]), ["2026-03-04", None]),
        (pa.array([DAY, None], pa.date64()), ["2026-03-04", None]),
        (pa.array([dt.time(5, 6), None]), ["05:06:00", None]),
        (pa.array([MOMENT, None]), ["2026-03-04T05:06:07.5", None]),
        (pa.array([MOMENT, None], pa.timestamp("ns")), ["2026-03-04T05:06:07.5", None]),
        (pa.array([0, 1], pa.timestamp("ns")), ["1970-01-01T00:00:00", "1970-01-01T00:00:00.000000001"]),
        (pa.array([0, None], pa.timestamp("s", "UTC")), ["1970-01-01T00:00:00Z", None]),
        (pa.array([0, None], pa.timestamp("ms", "Europe/Berlin")), ["1970-01-01T00:00:00Z", None]),
        (pa.array([0, None], pa.timestamp("us", "Mars/Phobos")), ["1970-01-01T00:00:00Z", None]),
        (pa.array([90_500, None, -1], pa.duration("ms")), ["PT90.5S", None, "PT-0.001S"]),
        (pa.array([(1, 2, 3), None], pa.month_day_nano_interval()), ["P1M2DT0.000000003S", None]),
        (pa.array([b"caf\xc3\xa9", None, b"\xff\xfe"]), ["café", None, Binary(2)]),
        (pa.array([b"ab", None], pa.binary(2)), ["ab", None]),
        (pa.array([[1, 2], None, []]), [[1, 2], None, []]),
        (pa.array([[1, 2], None, []], pa.large_list(pa.int8())), [[1, 2], None, []]),
        (pa.array([[1, 2], None, []], pa.list_view(pa.int8())), [[1, 2], None, []]),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), [[1, 2], None]),
        (pa.array([[DAY], None, [None]]), [["2026-03-04"], None, [None]]),
        (pa.array([{"a": 1, "b": None}, None, {"a": None, "b": 2}]), [{"a": 1}, None, {"b": 2}]),
        (pa.array([[{"a": DAY}], [{"a": None}]]), [[{"a": "2026-03-04"}], [{}]]),
        (pa.array([{}, None], pa.struct([])), [{}, None]),
        (pa.array([[("k", DAY)], None, []], pa.map_(pa.string(), pa.date32())), [{"k": "2026-03-04"}, None, {}]),
        (pa.array([[(1, "v")], None], pa.map_(pa.int8(), pa.string())), [{"1": "v"}, None]),
        (
            as_json(['{"a": null}', None, '"text"', "[1]", "no json", "3"]),
            [{"a": None}, None, "text", [1], "no json", 3],
        ),
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16))),
            [str(uuid.UUID(bytes=b"0" * 16)), None],
        ),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), ["a", "a", "b"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_each_type_as_json_knows_it(array: Any, expected: list[Any]) -> None:
    assert decoded(array) == expected


def test_unknown_extensions_are_what_they_store() -> None:
    class Odd(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pa.date32(), "test.odd")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

    assert decoded(pa.ExtensionArray.from_storage(Odd(), pa.array([DAY, None]))) == ["2026-03-04", None]


def test_unions() -> None:
    types = pa.array([0, 1, 0], pa.int8())
    union = pa.UnionArray.from_sparse(types, [pa.array(["a", "b", "c"]), pa.array([DAY, DAY, DAY])])
    assert decoder(union.type)(union) == ["a", "2026-03-04", "c"]


def test_decimals_keep_their_digits() -> None:
    values = decoded(pa.array([Decimal("4.50"), Decimal("-0.10"), None]))
    assert [value and value.text for value in values] == ["4.50", "-0.10", None]
    assert isinstance(values[0], Number)
    assert json.dumps(values) == "[4.5, -0.1, null]"
    assert decoded(pa.array([Decimal("12"), Decimal("0")])) == [12, 0]
    large = decoded(pa.array([Decimal(10**70), Decimal(1)], pa.decimal256(76)))
    assert large == [10**70, 1]


def test_text_that_is_no_utf8_costs_only_its_row(tmp_path: Path, reading: Any) -> None:
    for data_type, bytes_type in ((pa.string(), pa.binary()), (pa.large_string(), pa.large_binary())):
        array = pa.array([b"ok", b"\xff", None], bytes_type).view(data_type)
        assert decoded(array) == ["ok", Binary(1), None]
    table = pa.table({"prompt": array, "nested": pa.StructArray.from_arrays([array], ["a"])})
    pq.write_table(table, tmp_path / "a.parquet")
    assert reading(str(tmp_path / "a.parquet")).values[1] == {"prompt": Binary(1), "nested": {"a": Binary(1)}}


@pytest.mark.parametrize("legacy", [False, True])
def test_json_by_the_metadata_of_datasets(legacy: bool, tmp_path: Path, reading: Any) -> None:
    feature: Any = {"role": {"dtype": "string", "_type": "Value"}, "content": {"_type": "Json"}}
    features = {
        "messages": [feature] if legacy else {"feature": feature, "_type": "List"},
        "label": {"_type": "Json"},
        "plain": {"dtype": "string", "_type": "Value"},
    }
    rows = {"messages": [[{"role": "user", "content": '[{"text": "a"}]'}]], "label": ['"b"'], "plain": ['"c"']}
    table = pa.table(rows).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "a.parquet")
    expected = {"messages": [{"role": "user", "content": [{"text": "a"}]}], "label": "b", "plain": '"c"'}
    assert reading(str(tmp_path / "a.parquet")).values == [expected]


@pytest.mark.parametrize(
    "metadata", [b"\xff", b"[]", b"{}", b'{"info": 3}', b'{"info": {"features": [1]}}', b"[" * 100_000]
)
def test_hostile_metadata_is_ignored(metadata: bytes, tmp_path: Path, reading: Any) -> None:
    pq.write_table(pa.table({"a": ["x"]}).replace_schema_metadata({"huggingface": metadata}), tmp_path / "a.parquet")
    assert reading(str(tmp_path / "a.parquet")).values == [{"a": "x"}]


@pytest.mark.parametrize("feature", [3, [], [1, 2], {"_type": 3}, {"feature": 3, "_type": "List"}, {"a": []}, "Json"])
def test_hostile_features_are_ignored(feature: Any) -> None:
    array = pa.array([[{"a": "x"}]])
    assert decoder(array.type, feature)(array) == [[{"a": "x"}]]


def test_plain_values() -> None:
    value = {"a": [DAY, Decimal("1.50"), b"x", b"\xff", None, (1, "b")], 2: uuid.UUID(int=0)}
    assert plain_value(value) == {
        "a": ["2026-03-04", 1.5, "x", Binary(1), None, [1, "b"]],
        "2": "00000000-0000-0000-0000-000000000000",
    }


def test_bytes_become_the_reason_of_a_row() -> None:
    with pytest.raises(RowError, match=r"^binary: 3 bytes that are not text$"):
        json.dumps({"a": Binary(3)}, default=unreadable)
    with pytest.raises(RowError, match=r"^not a value of JSON: date$"):
        json.dumps({"a": DAY}, default=unreadable)
