from __future__ import annotations

import pytest

from engine.settings.source import container_of, is_address, is_pattern


@pytest.mark.parametrize(
    "source", ["s3://b/x", "gs://b", "https://h/x?y", "hf://datasets/a/b", "simplecache::s3://b/x"]
)
def test_addresses(source: str) -> None:
    assert is_address(source)


@pytest.mark.parametrize("source", ["a/b", "C:/x", "/s3://x", "org/name:train", "-", "", "a:b", "//x"])
def test_what_is_no_address(source: str) -> None:
    assert not is_address(source)


def test_patterns() -> None:
    assert all(map(is_pattern, ("*.jsonl", "a/**/b", "a?.csv", "a/[12].csv")))
    assert not any(map(is_pattern, ("a.jsonl", "org/name:train[:10%]")))


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("a.JSONL", "json"),
        ("a.json.zst", "json"),
        ("a.tsv.GZ", "csv"),
        ("a.parquet", "parquet"),
        ("a.feather", "arrow"),
        ("a.gz", None),
        ("a", None),
        (".gz", None),
        ("", None),
    ],
)
def test_the_container_that_a_name_promises(name: str, container: str | None) -> None:
    assert container_of(name) == container
