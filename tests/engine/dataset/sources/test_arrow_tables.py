from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = [{"prompt": f"p{number}", "response": "r"} for number in range(1000)]


def ipc(rows: list[dict[str, Any]], writer: Any) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with writer(sink, table.schema) as opened:
        opened.write_table(table, max_chunksize=300)
    return sink.getvalue()


def test_parquet_with_row_groups_has_numbers_and_progress(tmp_path: Path, reading: Any) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet", row_group_size=100, compression="zstd")
    found = reading(str(tmp_path / "a.parquet"))
    assert found.values == ROWS
    assert found.places[-1] == "a.parquet:1000"
    assert found.records[0].container == "Parquet"
    assert found.progress[-1] == 1.0


@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "a", "a.jsonl"])
@pytest.mark.parametrize("writer", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_and_streams(name: str, writer: Any, write: Any, reading: Any) -> None:
    found = reading(write(name, ipc(ROWS, writer)))
    assert found.values == ROWS
    assert found.records[-1].line == 1000
    assert found.records[0].container == "Arrow"


def test_columns_of_one_name_are_an_error(tmp_path: Path, refusal: Any) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert "two columns are named 'a'" in refusal(str(tmp_path / "a.parquet")).message


def test_cut_and_changed_files_are_one_line(write: Any, refusal: Any, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    assert "is not a valid Parquet file" in refusal(write("a.parquet", content[:-100])).message
    assert (
        "is not a valid Parquet file" in refusal(write("b.parquet", content[:100] + bytes(500) + content[600:])).message
    )
    for writer in (pa.ipc.new_file, pa.ipc.new_stream):
        assert "is not a valid Arrow file" in refusal(write("a.arrow", ipc(ROWS, writer)[:-1500])).message


def test_an_encrypted_file_says_so(tmp_path: Path, write: Any, refusal: Any) -> None:
    assert "is encrypted" in refusal(write("a.parquet", b"PARE" + bytes(100) + b"PARE")).message


def test_a_table_without_columns_or_rows(tmp_path: Path, reading: Any) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert reading(str(tmp_path / "a.parquet")).all == []
    pq.write_table(pa.table({}), tmp_path / "b.parquet")
    assert reading(str(tmp_path / "b.parquet")).all == []


def test_deep_types(tmp_path: Path, reading: Any) -> None:
    value: Any = "x"
    for _ in range(20):
        value = {"a": [value]}
    pq.write_table(pa.Table.from_pylist([{"deep": value}]), tmp_path / "a.parquet")
    assert reading(str(tmp_path / "a.parquet")).values == [{"deep": value}]
