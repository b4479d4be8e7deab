"""Records of all sources: what is in the exports, what is hostile, and that what is written is what is read."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.dataset.record import Dropped, Record
from engine.dataset.sources import read
from engine.protocol.errors import InputError

EXPORTS = Path(__file__).parents[5] / "shared" / "data" / "exports"
GOOD = {"prompt": "Where is it?", "response": "shipping"}
LINE = json.dumps(GOOD) + "\n"

shared_exports = pytest.mark.skipif(not EXPORTS.exists(), reason="the exports are not here")
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30) | st.sampled_from(
    [
        'say "hi"',
        "a\r\nb\nc",
        '{"role": "user"}',
        "[1, 2]",
        "漢字",
        "\u2028\x85\x1c\x0b",
        " ",
        "x;y,z\tw|v",
        '"',
        "é’",
        "=1+1",
    ]
)


def values(*sources: str) -> list[Any]:
    return [record.value for record in read(sources) if isinstance(record, Record)]


@shared_exports
@pytest.mark.parametrize(
    ("name", "container", "rows"),
    [
        ("notes.jsonl.gz", "JSONL", 4),
        ("shards", "JSONL", 6),
        ("openai_batch", "JSONL", 11),
        ("openai_list.json", "JSON", 3),
        ("langfuse_api.json", "JSON", 4),
        ("alpaca_history.json", "JSON", 3),
        ("langfuse.csv", "CSV", 5),
        ("litellm_spend_logs.csv", "CSV", 4),
        ("excel_cp1252.csv", "CSV", 4),
        ("excel_sep.csv", "CSV", 3),
        ("user_ids.csv", "CSV", 6),
        ("mixed_content.parquet", "Parquet", 6),
        ("tools.parquet", "Parquet", 4),
        ("tool_calls.parquet", "Parquet", 4),
        ("labels_and_numbers.parquet", "Parquet", 6),
        ("dates_in_calls.parquet", "Parquet", 4),
        ("categories.parquet", "Parquet", 4),
    ],
)
def test_every_container_of_the_exports_gives_its_rows(name: str, container: str, rows: int, reading: Any) -> None:
    found = reading(str(EXPORTS / name))
    assert found.dropped == []
    assert {record.container for record in found.records} == {container}
    assert len(found.records) == rows
    assert all(isinstance(value, dict) for value in found.values)


@shared_exports
def test_every_file_of_the_exports_is_read_without_a_dropped_row(reading: Any) -> None:
    assert [row.reason for row in reading(str(EXPORTS)).all if isinstance(row, Dropped)] == []


@shared_exports
def test_values_of_the_exports_mean_what_they_should() -> None:
    assert {row["response"] for row in values(str(EXPORTS / "labels_and_numbers.parquet"))} == {"none", 1, 3, 5}
    mixed = values(str(EXPORTS / "mixed_content.parquet"))
    assert {type(message["content"]) for row in mixed for message in row["messages"]} == {str, list}
    call = values(str(EXPORTS / "dates_in_calls.parquet"))[0]["messages"][1]["tool_calls"][0]["function"]
    assert call["arguments"]["day"] == "2026-03-04"
    tools = [row["tools"][0]["function"]["parameters"]["properties"] for row in values(str(EXPORTS / "tools.parquet"))]
    assert all(isinstance(properties, dict) for properties in tools)
    assert values(str(EXPORTS / "excel_cp1252.csv"))[0] == {
        "prompt": "Zahlung für März bitte prüfen",
        "response": "größer",
    }
    assert set(values(str(EXPORTS / "excel_sep.csv"))[0]) == {"prompt", "response"}


def test_several_sources_in_their_order_with_labels_and_progress(write: Any, reading: Any, tmp_path: Path) -> None:
    write("logs/part-10.jsonl", LINE)
    write("logs/part-2.jsonl", LINE * 2)
    extra = write("extra.csv", "prompt,response\nx,y\n")
    found = reading(extra, str(tmp_path / "logs"))
    assert found.places == ["extra.csv:2", "logs/part-2.jsonl:1", "logs/part-2.jsonl:2", "logs/part-10.jsonl:1"]
    assert [record.container for record in found.records] == ["CSV", "JSONL", "JSONL", "JSONL"]
    assert found.progress[-1] == 1.0
    assert found.progress == sorted(found.progress)


def test_a_source_that_is_named_twice_is_read_once(write: Any, reading: Any, tmp_path: Path) -> None:
    file = write("a.jsonl", LINE)
    assert reading(file, str(tmp_path), f"{tmp_path}/*.jsonl", file).places == ["a.jsonl:1"]


@pytest.mark.parametrize(
    "content", [LINE, json.dumps([GOOD]), json.dumps({"data": [GOOD]}, indent=1), "prompt,response\nx,y\n"]
)
def test_the_standard_input_is_sniffed(content: str, reading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(content.encode())
        isatty = staticmethod(lambda: False)

    monkeypatch.setattr("sys.stdin", Input)
    found = reading("-", "-")
    assert len(found.records) == 1
    assert found.records[0].file == "stdin"
    assert set(found.progress) == {None}


def test_a_terminal_is_no_input(refusal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        isatty = staticmethod(lambda: True)

    monkeypatch.setattr("sys.stdin", Terminal)
    assert "nothing to read" in refusal("-").message


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_named_pipes_are_read_once_and_sniffed(pack: Callable[[bytes], bytes], tmp_path: Path, reading: Any) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(pack((LINE * 3000).encode())))
    writer.start()
    found = reading(str(pipe))
    writer.join()
    assert len(found.records) == 3000
    assert found.places[-1] == f"{pipe}:3000"


def packed_table(rows: list[dict[str, str]], ipc: Any) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=pa.schema([("prompt", pa.string()), ("response", pa.string())]))
    with ipc(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def as_csv(rows: list[dict[str, str]], **dialect: Any) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["prompt", "response"], **dialect)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_lines(rows: list[dict[str, str]], **options: Any) -> bytes:
    return "".join(json.dumps(row, **options) + "\n" for row in rows).encode()


WRITERS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "a.jsonl": as_lines,
    "b.jsonl": lambda rows: as_lines(rows, ensure_ascii=False),
    "c.jsonl": lambda rows: json.dumps(rows, indent=2).encode(),
    "d.json": lambda rows: json.dumps({"object": "list", "data": rows}).encode(),
    "e.json": as_lines,
    "f.json": lambda rows: "".join(json.dumps(row, indent=1) for row in rows).encode(),
    "g": as_lines,
    "h.txt": lambda rows: b"\xef\xbb\xbf" + json.dumps(rows, ensure_ascii=False).encode(),
    "i.csv": as_csv,
    "j.tsv": lambda rows: as_csv(rows, delimiter="\t", quoting=csv.QUOTE_ALL),
    "k.csv": lambda rows: b"sep=;\r\n" + as_csv(rows, delimiter=";"),
    "l.csv": lambda rows: b"\xef\xbb\xbf" + as_csv(rows, delimiter="|", lineterminator="\n", quoting=csv.QUOTE_ALL),
    "m.csv": lambda rows: as_csv(rows, delimiter="\t").decode().encode("utf-16"),
    "n.parquet": lambda rows: parquet(rows),
    "o.arrow": lambda rows: packed_table(rows, pa.ipc.new_stream),
    "p.feather": lambda rows: packed_table(rows, pa.ipc.new_file),
    "q.jsonl.gz": lambda rows: gzip.compress(as_lines(rows)),
    "r.jsonl": lambda rows: pa.compress(as_lines(rows), "zstd", asbytes=True),
    "s.csv.bz2": lambda rows: bz2.compress(as_csv(rows)),
    "t.json.xz": lambda rows: lzma.compress(json.dumps(rows).encode()),
    "u.jsonl.gz": lambda rows: gzip.compress(as_lines(rows[:1])) + gzip.compress(as_lines(rows[1:])),
}


def parquet(rows: list[dict[str, str]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", WRITERS)
@given(rows=st.lists(st.fixed_dictionaries({"prompt": texts, "response": texts}), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(name: str, rows: list[dict[str, str]], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(WRITERS[name](rows))
    expected = [row for row in rows if any(row.values())] if ".csv" in name or ".tsv" in name else rows
    assert values(str(path)) == expected


SEEDS = [
    as_lines([GOOD, GOOD]),
    json.dumps([GOOD, GOOD], indent=1).encode(),
    json.dumps({"hits": {"hits": [{"_id": "1", "_source": GOOD}]}}).encode(),
    as_csv([GOOD, {"prompt": 'a "b"\n,c', "response": "ü"}]),
    parquet([GOOD, GOOD]),
    packed_table([GOOD], pa.ipc.new_stream),
    packed_table([GOOD], pa.ipc.new_file),
    gzip.compress(LINE.encode()),
    pa.compress(LINE.encode(), "zstd", asbytes=True),
    LINE.encode("utf-16"),
    b"PAR1",
    b"\xff\xff\xff\xff",
    b"ARROW1\0\0",
]
ENDINGS = [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".jsonl.gz", ".zst", ".txt", ""]


@given(
    seed=st.sampled_from(SEEDS) | st.binary(max_size=80),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4), st.integers(0, 8)), max_size=4),
    ending=st.sampled_from(ENDINGS),
)
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_and_random_bytes_never_end_in_another_error(
    seed: bytes, edits: list[tuple[int, bytes, int]], ending: str, tmp_path: Path
) -> None:
    content = seed
    for at, put, removed in edits:
        at %= len(content) + 1
        content = content[:at] + put + content[at + removed :]
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    try:
        for row in read([str(path)]):
            assert isinstance(row, Record | Dropped)
            assert row.file == path.name
    except InputError as error:
        assert "\n" not in error.message
        assert str(path) in error.message


@given(text=st.text(st.sampled_from('",;\n\r ab\t|\x00é'), max_size=60))
@quick
def test_any_csv_is_read_or_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt,response\n" + text.encode())
    rows = list(read([str(path)]))
    assert all(isinstance(row, Record | Dropped) for row in rows)
    # Each row once; the line that ended an open quote is reported before those between.
    assert len({row.line for row in rows}) == len(rows)
    records = [row.line for row in rows if isinstance(row, Record)]
    assert records == sorted(records)


@given(
    text=st.text(st.sampled_from('{}[]",:\n ab01e.-\\u'), max_size=60),
    start=st.sampled_from(["", "{", "[", '{"data":[']),
)
@quick
def test_any_json_is_read_or_refused(text: str, start: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(start + text)
    try:
        assert all(isinstance(row, Record | Dropped) for row in read([str(path)]))
    except InputError as error:
        assert "\n" not in error.message
