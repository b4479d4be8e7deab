from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

LINE = b'{"prompt": "a", "response": "b"}\n'
LINES = b"".join(b'{"prompt": "%d", "response": "b"}\n' % number for number in range(5000))


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, "zstd", asbytes=True)
    return packed


PACKERS: list[Callable[[bytes], bytes]] = [gzip.compress, zstd, bz2.compress, lzma.compress]


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.zst", "a.jsonl", "a.gz", "a"])
def test_compressed_files_are_their_content(pack: Any, name: str, write: Any, reading: Any) -> None:
    found = reading(write(name, pack(LINES)))
    assert len(found.records) == 5000
    assert found.records[0].container == "JSONL"
    assert found.progress[-1] == 1.0
    assert reading(write(name, pack(LINE) + pack(LINE))).places == [f"{name}:1", f"{name}:2"]
    assert reading(write(name, pack(b""))).all == []


@pytest.mark.parametrize("pack", PACKERS)
def test_damaged_archives_are_refused_as_a_whole(pack: Any, write: Any, refusal: Any) -> None:
    packed = pack(LINES)
    half = len(packed) // 2
    for damaged in (packed[:half], packed[:-3], packed[:20]):
        error = refusal(write("a.jsonl.gz", damaged))
        assert "data that is damaged or cut off" in error.message
    if pack is not zstd:  # without a checksum, changed bytes may still be valid
        error = refusal(write("b.jsonl", packed[:half] + bytes(8) + packed[half + 8 :]))
        assert "data that is damaged" in error.message


def test_a_bomb_stays_small(write: Any, reading: Any) -> None:
    bomb = gzip.compress(b"[" + b" " * 100_000_000 + b'"' + b"x" * 60_000_000 + b'", 3]', 1)
    line = gzip.compress(b"x" * 100_000_000 + b"\n" + LINE, 1)
    json_file, lines = write("a.json", bomb), write("a.jsonl", line)
    tracemalloc.start()
    found, others = reading(json_file), reading(lines)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.values, found.dropped) == ([3], [(1, "larger than 1 MB")])
    assert (len(others.values), others.dropped) == (1, [(1, "larger than 1 MB")])
    assert peak < 60_000_000


def archive(kind: str) -> bytes:
    sink = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(sink, "w") as packed:
            packed.writestr("a.jsonl", LINE)
    else:
        with tarfile.open(fileobj=sink, mode="w:gz" if kind == "tar.gz" else "w") as tar:
            entry = tarfile.TarInfo("a.jsonl")
            entry.size = len(LINE)
            tar.addfile(entry, io.BytesIO(LINE))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("a.zip", archive("zip"), "is a zip archive", "unpack it"),
        ("a.jsonl", archive("zip"), "is a zip archive", "unpack it"),
        ("a.tar", archive("tar"), "is a tar archive", "name the folder"),
        ("a.tar.gz", archive("tar.gz"), "is a tar archive", "name the folder"),
        ("a.jsonl.gz", gzip.compress(gzip.compress(LINE)), "is compressed twice", "decompress"),
        ("a.db", b"SQLite format 3\0" + bytes(100), "is an SQLite database", "CSV"),
        ("a.avro", b"Obj\x01xyz", "is an Avro file", "Parquet"),
        ("a.md", b"# Title", "unknown file type .md", ".jsonl"),
        ("a", b"some text", "unknown file type", ".jsonl"),
        ("a.jsonl", b"a\0b\0c\0d\0", "is not UTF-8 text (UTF-16?)", "iconv"),
        ("a.parquet", b"", "is not a valid Parquet file", "whole"),
        ("a.parquet", b"PAR1 no", "is not a valid Parquet file", "again"),
        ("a.parquet", b"PARE no", "is encrypted", "without"),
        ("a.arrow", LINE, "is not a valid Arrow file", "whole"),
    ],
)
def test_what_is_not_read_says_what_it_is(
    name: str, content: bytes, message: str, hint: str, write: Any, refusal: Any
) -> None:
    error = refusal(write(name, content))
    assert message in error.message
    assert hint in error.hint


def test_parquet_in_gzip_is_refused(write: Any, refusal: Any) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    assert "Parquet in a pipe or compressed" in refusal(write("a.parquet.gz", gzip.compress(sink.getvalue()))).message


def test_utf16_of_any_json(write: Any, reading: Any) -> None:
    rows = [{"prompt": "漢😀", "response": "é"}] * 2
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)
    assert reading(write("a.jsonl", lines.encode("utf-16"))).values == rows
    assert (
        reading(write("b.json", json.dumps(rows).encode("utf-16-be", "surrogatepass").join([b"\xfe\xff", b""]))).values
        == rows
    )
    lone = reading(write("c.jsonl", "\ufeff\ud800\n{}\n".encode("utf-16-le", "surrogatepass")))
    assert (lone.values, lone.dropped) == ([{}], [(1, "not UTF-8 text: column 1")])
