from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from engine.dataset.sources import remote

LINE = b'{"prompt": "a", "response": "b"}\n'


@pytest.fixture
def bucket() -> Iterator[str]:
    files = fsspec.filesystem("memory")
    for name in ("part-10.jsonl", "part-2.jsonl", "sub/a.csv", "README.md", "_SUCCESS", ".x.jsonl", "_tmp/a.jsonl"):
        files.pipe(f"/bucket/logs/{name}", b"prompt,response\nx,y\n" if name.endswith(".csv") else LINE)
    files.pipe("/bucket/one", gzip.compress(LINE))
    yield "memory://bucket"
    files.rm("/bucket", recursive=True)


def test_addresses_of_files_folders_and_patterns(bucket: str, reading: Any) -> None:
    assert reading(f"{bucket}/one").places == ["one:1"]
    found = reading(f"{bucket}/logs")
    names = ["part-2.jsonl", "part-10.jsonl", "sub/a.csv"]
    assert [row.file for row in found.all] == [f"memory:///bucket/logs/{name}" for name in names]
    assert found.progress[-1] == 1.0
    assert len(reading(f"{bucket}/logs/part-*.jsonl").all) == 2
    assert len(reading(f"{bucket}/**/*.csv").all) == 1


def test_an_address_of_a_local_file_next_to_a_local_one(write: Any, reading: Any) -> None:
    one, other = write("a.jsonl", LINE), write("b.parquet.jsonl", LINE)
    found = reading(f"file://{one}", other)
    assert [row.file for row in found.all] == [f"file://{one}", "b.parquet.jsonl"]


def test_addresses_that_name_nothing(bucket: str, refusal: Any) -> None:
    for address in (f"{bucket}/none.jsonl", f"{bucket}/none-*.jsonl", "file:///nowhere/a.jsonl", "memory://none/"):
        error = refusal(address)
        assert error.message == f"{address}: no such file"


def test_a_missing_plugin_is_named(refusal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(address: str) -> Any:
        raise ImportError("Install s3fs to access S3", name="s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    error = refusal("s3://user:pass@bucket/logs/*.jsonl?X-Signature=abc")
    assert error.message == "s3://bucket/logs/*.jsonl: its file system is not installed"
    assert error.hint == "pip install s3fs"
    assert remote._package("gs") == "gcsfs"
    assert remote._package("az") == "adlfs"


def test_unknown_protocols_and_failures_are_one_line(
    refusal: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cannot be read: Protocol not known: nope" in refusal("nope://a/b.jsonl").message

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no credentials\nmore")

    with monkeypatch.context() as patched:
        patched.setattr(fsspec.get_filesystem_class("memory"), "open", fails)
        assert refusal(f"{bucket}/one").message == "memory:///bucket/one: cannot be read: no credentials"
        patched.setattr(fsspec.get_filesystem_class("memory"), "info", fails)
        assert refusal(f"{bucket}/one").message == "memory://bucket/one: cannot be read: no credentials"


def test_an_address_is_never_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert "s3:/" not in refusal("memory://b/x.jsonl").message.replace("s3://", "")
